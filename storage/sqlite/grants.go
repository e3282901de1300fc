package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/countersign/countersign/storage"
)

// grantColumns are what grant scans, of the table named g.
const grantColumns = `g.id, g.client_id, g.connector_id, g.user_id, g.sid, g.scopes, g.redirect_uri, g.nonce,
	g.code_challenge, g.code_challenge_method, g.auth_time, g.acr, g.amr, g.created_at, g.code_expires_at,
	g.code_redeemed_at, g.revoked_at, g.revoked_reason, g.expires_at, g.user_agent, g.ip_address,
	g.generation, coalesce(g.refreshed_at, g.code_redeemed_at), g.refreshed_user_agent, g.refreshed_ip_address`

func grant(g *storage.Grant) []any {
	return []any{exactBytes{g.ID[:]}, &g.ClientID, &g.ConnectorID, &g.UserID, &g.SID, stringList{&g.Scopes},
		&g.RedirectURI, &g.Nonce, &g.CodeChallenge, &g.CodeChallengeMethod,
		instant{&g.AuthTime}, &g.ACR, stringList{&g.AMR}, instant{&g.CreatedAt}, instant{&g.CodeExpiresAt},
		instant{&g.CodeRedeemedAt}, instant{&g.RevokedAt}, &g.RevokedReason, instant{&g.ExpiresAt},
		&g.UserAgent, &g.IPAddress,
		&g.Generation, instant{&g.RefreshedAt}, &g.RefreshedUserAgent, &g.RefreshedIPAddress}
}

func insertGrant(tx *tx, g storage.Grant) error {
	_, err := tx.Exec(`
		INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce,
			code_challenge, code_challenge_method, auth_time, acr, amr, created_at, code_expires_at,
			code_redeemed_at, revoked_at, revoked_reason, expires_at, user_agent, ip_address,
			generation, refreshed_at, refreshed_user_agent, refreshed_ip_address)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID[:], g.ClientID, g.ConnectorID, g.UserID, g.SID, list(g.Scopes), g.RedirectURI, g.Nonce,
		g.CodeChallenge, g.CodeChallengeMethod, micros(g.AuthTime), g.ACR, list(g.AMR),
		micros(g.CreatedAt), micros(g.CodeExpiresAt), optionalMicros(g.CodeRedeemedAt),
		optionalMicros(g.RevokedAt), g.RevokedReason, micros(g.ExpiresAt), g.UserAgent, g.IPAddress,
		g.Generation, optionalMicros(g.RefreshedAt), g.RefreshedUserAgent, g.RefreshedIPAddress)
	return err
}

// Authorize implements storage.Grants.
func (s *Store) Authorize(ctx context.Context, in storage.Authorization) error {
	if err := in.Check(); err != nil {
		return err
	}
	return s.write(ctx, "authorizing", func(tx *tx) error {
		if err := useSession(tx, in); err != nil {
			return err
		}
		if in.Consent != nil {
			if err := upsertConsent(tx, *in.Consent); err != nil {
				return err
			}
		}
		return insertGrant(tx, in.Grant)
	})
}

// useSession checks that the session is alive, and touches it when asked.
func useSession(tx *tx, in storage.Authorization) error {
	now := micros(in.Grant.CreatedAt)
	var alive bool
	var err error
	if in.TouchSession {
		alive, err = tx.hit(`
			UPDATE sessions SET last_used_at = max(last_used_at, ?1),
				client_ids = CASE WHEN EXISTS (SELECT 1 FROM json_each(client_ids) WHERE value = ?3) THEN client_ids
					ELSE json_insert(client_ids, '$[#]', ?3) END
			WHERE id_hash = ?2 AND expires_at > ?1`,
			now, in.Session[:], in.Grant.ClientID)
	} else {
		err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM sessions WHERE id_hash = ? AND expires_at > ?)`,
			in.Session[:], now).Scan(&alive)
	}
	if err == nil && !alive {
		return storage.ErrConflict
	}
	return err
}

// Grant implements storage.Grants.
func (s *Store) Grant(ctx context.Context, id storage.GrantID, now time.Time) (storage.Grant, storage.Identity, error) {
	var found storage.Grant
	var person storage.Identity
	err := s.read(ctx, "reading a grant", func(tx *tx) error {
		return readGrant(tx, id, now, &found, &person)
	})
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	return found, person, nil
}

func readGrant(tx *tx, id storage.GrantID, now time.Time, found *storage.Grant, person *storage.Identity) error {
	return tx.QueryRow(`
		SELECT `+grantColumns+`, `+identityColumns+`
		FROM grants g JOIN identities i ON i.connector_id = g.connector_id AND i.user_id = g.user_id
		WHERE g.id = ? AND g.expires_at > ?`,
		id[:], micros(now)).Scan(append(grant(found), identity(person)...)...)
}

// RedeemCode implements storage.Grants.
func (s *Store) RedeemCode(ctx context.Context, in storage.Redemption) error {
	if err := in.Check(); err != nil {
		return err
	}
	return s.write(ctx, "redeeming a code", func(tx *tx) error {
		won, err := tx.hit(`
			UPDATE grants SET code_redeemed_at = ?2, refreshed_at = ?2, expires_at = ?3,
				refreshed_user_agent = ?4, refreshed_ip_address = ?5
			WHERE id = ?1 AND code_redeemed_at IS NULL AND revoked_at IS NULL
				AND code_expires_at > ?2 AND expires_at > ?2
				AND EXISTS (SELECT 1 FROM identities i
					WHERE i.connector_id = grants.connector_id AND i.user_id = grants.user_id)`,
			in.ID[:], micros(in.Now), micros(in.ExpiresAt), in.UserAgent, in.IPAddress)
		if err == nil && !won {
			return storage.ErrConflict
		}
		if err == nil {
			_, err = tx.Exec(`
				UPDATE identities SET expires_at = ?2 FROM grants g
				WHERE g.id = ?1 AND identities.connector_id = g.connector_id
					AND identities.user_id = g.user_id AND identities.expires_at < ?2`,
				in.ID[:], micros(in.ExpiresAt))
		}
		return err
	})
}

// RevokeGrant implements storage.Grants.
func (s *Store) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (revoked bool, err error) {
	if err := storage.CheckText(reason); err != nil {
		return false, err
	}
	err = s.write(ctx, "revoking a grant", func(tx *tx) error {
		revoked, err = tx.hit(`
			UPDATE grants SET revoked_at = ?2, revoked_reason = ?3
			WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2`,
			id[:], micros(now), reason)
		return err
	})
	return revoked && err == nil, err
}

func upsertConsent(tx *tx, c storage.Consent) error {
	_, err := tx.Exec(`
		INSERT INTO consents (connector_id, user_id, client_id, scopes, granted_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (connector_id, user_id, client_id) DO UPDATE SET
			scopes = excluded.scopes, granted_at = excluded.granted_at,
			expires_at = max(expires_at, excluded.expires_at)`,
		c.ConnectorID, c.UserID, c.ClientID, list(c.Scopes), micros(c.GrantedAt), micros(c.ExpiresAt))
	return err
}

// Consent implements storage.Consents.
func (s *Store) Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (storage.Consent, error) {
	var c storage.Consent
	if errors.Is(storage.CheckKeys(connectorID, userID, clientID), storage.ErrInvalid) {
		return c, storage.ErrNotFound
	}
	err := s.read(ctx, "reading a consent", func(tx *tx) error {
		return tx.QueryRow(`
			SELECT connector_id, user_id, client_id, scopes, granted_at, expires_at FROM consents
			WHERE connector_id = ? AND user_id = ? AND client_id = ? AND expires_at > ?`,
			connectorID, userID, clientID, micros(now)).Scan(
			&c.ConnectorID, &c.UserID, &c.ClientID, stringList{&c.Scopes}, instant{&c.GrantedAt}, instant{&c.ExpiresAt})
	})
	if err != nil {
		return storage.Consent{}, err
	}
	return c, nil
}
