package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/countersign/countersign/storage"
)

// identityColumns are what identity scans, of the table named i.
const identityColumns = `i.connector_id, i.user_id, i.name, i.preferred_username, i.email,
	i.email_verified, i.groups, i.checked_at, i.expires_at`

func identity(i *storage.Identity) []any {
	return []any{&i.ConnectorID, &i.UserID, &i.Name, &i.PreferredUsername, &i.Email,
		&i.EmailVerified, stringList{&i.Groups}, instant{&i.CheckedAt}, instant{&i.ExpiresAt}}
}

// sessionColumns are what session scans, of the table named s.
const sessionColumns = `s.id_hash, s.sid, s.connector_id, s.user_id, s.auth_time, s.amr,
	s.login_client_ids, s.client_ids, s.remember, s.user_agent, s.ip_address, s.created_at, s.last_used_at, s.expires_at,
	s.upstream_sealed`

func session(s *storage.Session) []any {
	return []any{exactBytes{s.IDHash[:]}, &s.SID, &s.ConnectorID, &s.UserID, instant{&s.AuthTime}, stringList{&s.AMR},
		stringList{&s.LoginClientIDs}, stringList{&s.ClientIDs}, &s.Remember, &s.UserAgent, &s.IPAddress,
		instant{&s.CreatedAt}, instant{&s.LastUsedAt}, instant{&s.ExpiresAt}, &s.UpstreamSealed}
}

// SignIn implements storage.Sessions.
func (s *Store) SignIn(ctx context.Context, in storage.SignIn) (replaced bool, err error) {
	if err := in.Check(); err != nil {
		return false, err
	}
	err = s.write(ctx, "signing in", func(tx *tx) error {
		if err := upsertIdentity(tx, in.Identity, in.SealedSecret); err != nil {
			return err
		}
		var err error
		if replaced, err = replaceSession(tx, in); err != nil {
			return err
		}
		if err := clearFailures(tx, in.ClearFailures); err != nil {
			return err
		}
		if in.Grant == nil {
			return nil
		}
		return insertGrant(tx, *in.Grant)
	})
	return replaced && err == nil, err
}

func upsertIdentity(tx *tx, i storage.Identity, sealedSecret []byte) error {
	_, err := tx.Exec(`
		INSERT INTO identities (connector_id, user_id, name, preferred_username, email,
			email_verified, groups, checked_at, expires_at, upstream_sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (connector_id, user_id) DO UPDATE SET
			name = excluded.name, preferred_username = excluded.preferred_username,
			email = excluded.email, email_verified = excluded.email_verified,
			groups = excluded.groups, checked_at = excluded.checked_at,
			expires_at = max(expires_at, excluded.expires_at),
			upstream_sealed = excluded.upstream_sealed, asked_until = -62135596800000000`,
		i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email,
		i.EmailVerified, list(i.Groups), micros(i.CheckedAt), micros(i.ExpiresAt), blob(sealedSecret))
	return err
}

func replaceSession(tx *tx, in storage.SignIn) (replaced bool, err error) {
	if replaced, err = endSession(tx, ending{Ending: in.Ending, idHash: in.Replaces, livesOn: in.Session.SID}); err != nil {
		return false, err
	}
	s := in.Session
	_, err = tx.Exec(`
		INSERT INTO sessions (id_hash, sid, connector_id, user_id, auth_time, amr,
			login_client_ids, client_ids, remember, user_agent, ip_address, created_at, last_used_at, expires_at,
			upstream_sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.IDHash[:], s.SID, s.ConnectorID, s.UserID, micros(s.AuthTime), list(s.AMR),
		list(s.LoginClientIDs), list(s.ClientIDs), s.Remember, s.UserAgent, s.IPAddress,
		micros(s.CreatedAt), micros(s.LastUsedAt), micros(s.ExpiresAt), full(s.UpstreamSealed))
	return replaced, err
}

// Session implements storage.Sessions.
func (s *Store) Session(ctx context.Context, idHash [32]byte, now time.Time) (storage.Session, storage.Identity, error) {
	var found storage.Session
	var person storage.Identity
	err := s.read(ctx, "reading a session", func(tx *tx) error {
		return tx.QueryRow(`
			SELECT `+sessionColumns+`, `+identityColumns+`
			FROM sessions s JOIN identities i ON i.connector_id = s.connector_id AND i.user_id = s.user_id
			WHERE s.id_hash = ? AND s.expires_at > ?`,
			idHash[:], micros(now)).Scan(append(session(&found), identity(&person)...)...)
	})
	if err != nil {
		return storage.Session{}, storage.Identity{}, err
	}
	return found, person, nil
}

// EndSession implements storage.Sessions.
func (s *Store) EndSession(ctx context.Context, idHash [32]byte, with storage.Ending) (ended bool, err error) {
	if err := with.Check(); err != nil {
		return false, err
	}
	err = s.write(ctx, "ending a session", func(tx *tx) (err error) {
		ended, err = endSession(tx, ending{Ending: with, idHash: idHash})
		return err
	})
	return ended && err == nil, err
}

// ending is the end of one session.
type ending struct {
	storage.Ending
	idHash [32]byte
	// livesOn is a SID that lives on; with lapsed, any does that another session has,
	// which is alive.
	livesOn string
	lapsed  bool
}

// endSession deletes a session, and ends what ends with it unless its SID lives
// on.
func endSession(tx *tx, with ending) (found bool, err error) {
	var ended storage.Session
	err = tx.QueryRow(`SELECT `+sessionColumns+` FROM sessions s WHERE s.id_hash = ?`, with.idHash[:]).Scan(session(&ended)...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(`DELETE FROM sessions WHERE id_hash = ?`, with.idHash[:]); err != nil || ended.SID == with.livesOn {
		return true, err
	}
	if with.lapsed {
		var alive bool
		err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM sessions WHERE sid = ? AND expires_at > ?)`,
			ended.SID, micros(with.Now)).Scan(&alive)
		if err != nil || alive {
			return true, err
		}
	}
	if _, err := tx.Exec(`
		UPDATE grants SET revoked_at = ?2, revoked_reason = ?3
		WHERE sid = ?1 AND client_id IN (SELECT value FROM json_each(?4)) AND revoked_at IS NULL AND expires_at > ?2`,
		ended.SID, micros(with.Now), with.Reason, list(with.RevokeClientIDs)); err != nil {
		return true, err
	}
	_, err = tx.Exec(`
		INSERT INTO logout_deliveries (sid, client_id, connector_id, user_id, ended_at, next_attempt_at, attempts, expires_at)
		SELECT ?1, c.id, ?2, ?3, ?4, ?4, 0, ?5
		FROM (SELECT value AS id FROM json_each(?6) UNION SELECT value FROM json_each(?7)
			UNION SELECT client_id FROM grants WHERE sid = ?1) c
		WHERE c.id IN (SELECT value FROM json_each(?8))
		ON CONFLICT DO NOTHING`,
		ended.SID, ended.ConnectorID, ended.UserID, micros(with.Now), micros(with.TellUntil),
		list(ended.ClientIDs), list(ended.LoginClientIDs), list(with.TellClientIDs))
	return true, err
}
