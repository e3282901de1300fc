package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// grantColumns are what grant scans, of the table named g.
const grantColumns = `g.id, g.client_id, g.connector_id, g.user_id, g.sid, g.scopes, g.redirect_uri, g.nonce,
	g.code_challenge, g.code_challenge_method, g.auth_time, g.acr, g.amr, g.created_at, g.code_expires_at,
	g.code_redeemed_at, g.revoked_at, g.revoked_reason, g.expires_at, g.user_agent, g.ip_address,
	g.generation, coalesce(g.refreshed_at, g.code_redeemed_at), g.refreshed_user_agent, g.refreshed_ip_address`

func grant(g *storage.Grant) []any {
	return []any{(*[16]byte)(&g.ID), &g.ClientID, &g.ConnectorID, &g.UserID, &g.SID, stringList{&g.Scopes},
		&g.RedirectURI, &g.Nonce, &g.CodeChallenge, &g.CodeChallengeMethod,
		instant{&g.AuthTime}, &g.ACR, stringList{&g.AMR}, instant{&g.CreatedAt}, instant{&g.CodeExpiresAt},
		instant{&g.CodeRedeemedAt}, instant{&g.RevokedAt}, &g.RevokedReason, instant{&g.ExpiresAt},
		&g.UserAgent, &g.IPAddress,
		&g.Generation, instant{&g.RefreshedAt}, &g.RefreshedUserAgent, &g.RefreshedIPAddress}
}

const (
	intoGrants = `
		INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce,
			code_challenge, code_challenge_method, auth_time, acr, amr, created_at, code_expires_at,
			code_redeemed_at, revoked_at, revoked_reason, expires_at, user_agent, ip_address,
			generation, refreshed_at, refreshed_user_agent, refreshed_ip_address)`
	insertGrant = intoGrants + `
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
			$22, $23, $24, $25)`
	insertGrantIfAlive = intoGrants + `
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
			$22, $23, $24, $25
		FROM alive`
)

func grantValues(g storage.Grant) []any {
	return []any{[16]byte(g.ID), g.ClientID, g.ConnectorID, g.UserID, g.SID, list(g.Scopes), g.RedirectURI, g.Nonce,
		g.CodeChallenge, g.CodeChallengeMethod, g.AuthTime, g.ACR, list(g.AMR), g.CreatedAt, g.CodeExpiresAt,
		optional(g.CodeRedeemedAt), optional(g.RevokedAt), g.RevokedReason, g.ExpiresAt, g.UserAgent, g.IPAddress,
		g.Generation, optional(g.RefreshedAt), g.RefreshedUserAgent, g.RefreshedIPAddress}
}

// Parts of the statement of Authorize. $14 is the grant's created_at, $26 the
// session. Either way of finding the session alive holds its row until the
// commit, so that a sign-out waits for this grant and then sees it.
const (
	aliveSession = `
		WITH alive AS (SELECT 1 FROM sessions WHERE id_hash = $26 AND expires_at > $14 FOR KEY SHARE)`
	touchSession = `
		WITH alive AS (UPDATE sessions SET last_used_at = greatest(last_used_at, $14),
				client_ids = CASE WHEN $2 = ANY (client_ids) THEN client_ids ELSE array_append(client_ids, $2) END
			WHERE id_hash = $26 AND expires_at > $14 RETURNING 1)`
	consentIfAlive = `,
		consent AS (INSERT INTO consents (connector_id, user_id, client_id, scopes, granted_at, expires_at)
			SELECT $27, $28, $29, $30, $31, $32 FROM alive
			ON CONFLICT (connector_id, user_id, client_id) DO UPDATE SET
				scopes = excluded.scopes, granted_at = excluded.granted_at,
				expires_at = greatest(consents.expires_at, excluded.expires_at))`
)

// Authorize implements storage.Grants, in one statement.
func (s *Store) Authorize(ctx context.Context, in storage.Authorization) error {
	if err := in.Check(); err != nil {
		return err
	}
	query := aliveSession
	if in.TouchSession {
		query = touchSession
	}
	args := append(grantValues(in.Grant), in.Session[:])
	if c := in.Consent; c != nil {
		query += consentIfAlive
		args = append(args, c.ConnectorID, c.UserID, c.ClientID, list(c.Scopes), c.GrantedAt, c.ExpiresAt)
	}
	return s.hit(ctx, "authorizing", query+insertGrantIfAlive, args...)
}

// hit runs a conditional statement; storage.ErrConflict says that it changed
// nothing.
func (s *Store) hit(ctx context.Context, doing, query string, args ...any) error {
	return s.transition(ctx, doing, func(ctx context.Context, conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, query, args...)
		if err == nil && tag.RowsAffected() == 0 {
			return storage.ErrConflict
		}
		return err
	})
}

// Grant implements storage.Grants.
func (s *Store) Grant(ctx context.Context, id storage.GrantID, now time.Time) (storage.Grant, storage.Identity, error) {
	var found storage.Grant
	var person storage.Identity
	err := s.read(ctx, "reading a grant", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT `+grantColumns+`, `+identityColumns+`
			FROM grants g JOIN identities i ON i.connector_id = g.connector_id AND i.user_id = g.user_id
			WHERE g.id = $1 AND g.expires_at > $2`,
			[16]byte(id), now).Scan(append(grant(&found), identity(&person)...)...)
	})
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	return found, person, nil
}

// RedeemCode implements storage.Grants, in one statement. The person's row is
// held first: one that garbage collection has just deleted makes it a conflict,
// one that is found stays. It is only written when it would expire first.
func (s *Store) RedeemCode(ctx context.Context, in storage.Redemption) error {
	if err := in.Check(); err != nil {
		return err
	}
	return s.hit(ctx, "redeeming a code", `
		WITH person AS (SELECT i.connector_id, i.user_id
				FROM grants g JOIN identities i ON i.connector_id = g.connector_id AND i.user_id = g.user_id
				WHERE g.id = $1 AND g.code_redeemed_at IS NULL FOR KEY SHARE OF i),
			redeemed AS (UPDATE grants g SET code_redeemed_at = $2, refreshed_at = $2, expires_at = $3,
					refreshed_user_agent = $4, refreshed_ip_address = $5
				FROM person p
				WHERE g.id = $1 AND g.connector_id = p.connector_id AND g.user_id = p.user_id
					AND g.code_redeemed_at IS NULL AND g.revoked_at IS NULL
					AND g.code_expires_at > $2 AND g.expires_at > $2
				RETURNING g.connector_id, g.user_id),
			kept AS (UPDATE identities i SET expires_at = $3 FROM redeemed r
				WHERE i.connector_id = r.connector_id AND i.user_id = r.user_id AND i.expires_at < $3)
		SELECT 1 FROM redeemed`,
		[16]byte(in.ID), in.Now, in.ExpiresAt, in.UserAgent, in.IPAddress)
}

// RevokeGrant implements storage.Grants.
func (s *Store) RevokeGrant(ctx context.Context, id storage.GrantID, now time.Time, reason string) (bool, error) {
	if err := storage.CheckText(reason); err != nil {
		return false, err
	}
	done, err := decided(s.hit(ctx, "revoking a grant", `
		UPDATE grants SET revoked_at = $2, revoked_reason = $3
		WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2`,
		[16]byte(id), now, reason))
	if err != nil || done {
		return done, err
	}
	// Somebody else did it, or we did and gave up waiting for a synchronous
	// standby. A commit of our own is acknowledged when that one is safe, too.
	_, err = decided(s.hit(ctx, "confirming that a grant is revoked",
		`UPDATE grants SET revoked_at = revoked_at WHERE id = $1 AND revoked_at IS NOT NULL`, [16]byte(id)))
	return false, err
}

// Consent implements storage.Consents.
func (s *Store) Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (storage.Consent, error) {
	if storage.CheckKeys(connectorID, userID, clientID) != nil {
		return storage.Consent{}, storage.ErrNotFound
	}
	var c storage.Consent
	err := s.read(ctx, "reading a consent", func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT connector_id, user_id, client_id, scopes, granted_at, expires_at FROM consents
			WHERE connector_id = $1 AND user_id = $2 AND client_id = $3 AND expires_at > $4`,
			connectorID, userID, clientID, now).Scan(
			&c.ConnectorID, &c.UserID, &c.ClientID, stringList{&c.Scopes}, instant{&c.GrantedAt}, instant{&c.ExpiresAt})
	})
	if err != nil {
		return storage.Consent{}, err
	}
	return c, nil
}
