package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	err = s.transition(ctx, "signing in", func(ctx context.Context, conn *pgx.Conn) error {
		return s.batch(ctx, conn, func(b *pgx.Batch) {
			queueIdentity(b, in.Identity, in.SealedSecret)
			if in.Replaces != [32]byte{} {
				queueEnding(b, in.Replaces, in.Session.SID, in.Ending).Exec(found(&replaced))
			}
			queueSession(b, in.Session)
			if len(in.ClearFailures) > 0 {
				hashes, _ := storage.FailureKeys(in.ClearFailures)
				b.Queue(`DELETE FROM login_failures WHERE key = ANY ($1)`, hashes)
			}
			if in.Grant != nil {
				b.Queue(insertGrant, grantValues(*in.Grant)...)
			}
		})
	})
	return replaced && err == nil, err
}

// found notes whether a statement of a batch found a row. A transaction that is run
// again notes it again.
func found(it *bool) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*it = tag.RowsAffected() > 0
		return nil
	}
}

func queueIdentity(b *pgx.Batch, i storage.Identity, sealedSecret []byte) {
	b.Queue(`
		INSERT INTO identities (connector_id, user_id, name, preferred_username, email,
			email_verified, groups, checked_at, expires_at, upstream_sealed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (connector_id, user_id) DO UPDATE SET
			name = excluded.name, preferred_username = excluded.preferred_username,
			email = excluded.email, email_verified = excluded.email_verified,
			groups = excluded.groups, checked_at = excluded.checked_at,
			expires_at = greatest(identities.expires_at, excluded.expires_at),
			upstream_sealed = excluded.upstream_sealed, asked_until = '0001-01-01 00:00:00+00'`,
		i.ConnectorID, i.UserID, i.Name, i.PreferredUsername, i.Email,
		i.EmailVerified, list(i.Groups), i.CheckedAt, i.ExpiresAt, blob(sealedSecret))
}

func queueSession(b *pgx.Batch, s storage.Session) {
	b.Queue(`
		INSERT INTO sessions (id_hash, sid, connector_id, user_id, auth_time, amr,
			login_client_ids, client_ids, remember, user_agent, ip_address, created_at, last_used_at, expires_at,
			upstream_sealed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		s.IDHash[:], s.SID, s.ConnectorID, s.UserID, s.AuthTime, list(s.AMR),
		list(s.LoginClientIDs), list(s.ClientIDs), s.Remember, s.UserAgent, s.IPAddress,
		s.CreatedAt, s.LastUsedAt, s.ExpiresAt, full(s.UpstreamSealed))
}

// Session implements storage.Sessions.
func (s *Store) Session(ctx context.Context, idHash [32]byte, now time.Time) (storage.Session, storage.Identity, error) {
	var found storage.Session
	var person storage.Identity
	err := s.read(ctx, "reading a session", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT `+sessionColumns+`, `+identityColumns+`
			FROM sessions s JOIN identities i ON i.connector_id = s.connector_id AND i.user_id = s.user_id
			WHERE s.id_hash = $1 AND s.expires_at > $2`,
			idHash[:], now).Scan(append(session(&found), identity(&person)...)...)
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
	err = s.transition(ctx, "ending a session", func(ctx context.Context, conn *pgx.Conn) error {
		return s.batch(ctx, conn, func(b *pgx.Batch) {
			queueEnding(b, idHash, "", with).Exec(found(&ended))
		})
	})
	return ended && err == nil, err
}

// Two statements end sessions: the first waits for authorizations that hold them,
// the second sees their grants. $2 is the SID that lives on; where $8 is true, any
// does that another session has, which is alive.
const (
	lockSession = `SELECT FROM sessions WHERE id_hash = $1 FOR UPDATE`
	endSessions = `
		WITH ended AS (DELETE FROM sessions WHERE id_hash = ANY ($1)
				RETURNING sid, connector_id, user_id, client_ids || login_client_ids AS client_ids),
			over AS (SELECT * FROM ended WHERE sid <> $2 AND NOT ($8 AND EXISTS (SELECT 1 FROM sessions o
				WHERE o.sid = ended.sid AND o.id_hash <> ALL ($1) AND o.expires_at > $3))),
			live AS (SELECT g.id FROM grants g JOIN over ON g.sid = over.sid
				WHERE g.client_id = ANY ($4) AND g.revoked_at IS NULL AND g.expires_at > $3
				ORDER BY g.id FOR NO KEY UPDATE OF g),
			revoked AS (UPDATE grants g SET revoked_at = $3, revoked_reason = $5 FROM live WHERE g.id = live.id)
		INSERT INTO logout_deliveries (sid, client_id, connector_id, user_id, ended_at, next_attempt_at, attempts, expires_at)
		SELECT over.sid, c.id, over.connector_id, over.user_id, $3, $3, 0, $7
		FROM over, LATERAL (SELECT unnest(over.client_ids) UNION SELECT client_id FROM grants WHERE sid = over.sid) c (id)
		WHERE c.id = ANY ($6)
		ON CONFLICT DO NOTHING`
)

// queueEnding returns the first statement, which finds the session, if it is there.
func queueEnding(b *pgx.Batch, idHash [32]byte, livesOn string, with storage.Ending) (locked *pgx.QueuedQuery) {
	locked = b.Queue(lockSession, idHash[:])
	b.Queue(endSessions, endingValues([][]byte{idHash[:]}, livesOn, false, with)...)
	return locked
}

func endingValues(idHashes [][]byte, livesOn string, lapsed bool, with storage.Ending) []any {
	return []any{idHashes, livesOn, with.Now, list(with.RevokeClientIDs), with.Reason,
		list(with.TellClientIDs), with.TellUntil, lapsed}
}
