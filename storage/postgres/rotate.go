package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/countersign/countersign/storage"
)

// rotate finds both rows by primary key. The limit of the person's connector is
// looked up in the arguments, so that one strict connector costs the people of
// others nothing; where its name is not, there is no limit. No indexed column
// changes, so that the new version of the row stays on its page (heap-only
// tuple).
var rotate = newHot("rotate_grant", `
	UPDATE grants g SET generation = $4, refreshed_at = $5, refreshed_user_agent = $7, refreshed_ip_address = $8
	FROM identities i
	WHERE g.id = $1 AND g.client_id = $2 AND g.generation = $3
		AND g.code_redeemed_at IS NOT NULL AND g.revoked_at IS NULL AND g.expires_at > $5
		AND coalesce(g.refreshed_at, g.code_redeemed_at) > $6
		AND i.connector_id = g.connector_id AND i.user_id = g.user_id
		AND i.checked_at > coalesce(($10::timestamptz[])[array_position($9::text[], i.connector_id)], '-infinity')
	RETURNING g.connector_id, g.user_id, g.sid, g.scopes, g.auth_time, g.acr, g.amr, g.code_redeemed_at, g.expires_at,
		i.name, i.preferred_username, i.email, i.email_verified, i.groups, i.checked_at, i.expires_at`,
	pgtype.UUIDOID, pgtype.TextOID, pgtype.Int8OID, pgtype.Int8OID, pgtype.TimestamptzOID, pgtype.TimestamptzOID,
	pgtype.TextOID, pgtype.TextOID, pgtype.TextArrayOID, pgtype.TimestamptzArrayOID)

// RotateGrant implements storage.Grants, in one statement. Whoever waits for
// another one's rotation or revocation looks at the row again afterwards.
func (s *Store) RotateGrant(ctx context.Context, in storage.Rotation) (storage.Grant, storage.Identity, error) {
	if err := in.Check(); err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	connectors, limits := checkLimits(in.CheckedAfter)
	// What was asked for is known.
	g := storage.Grant{
		ID: in.ID, ClientID: in.ClientID, Generation: in.Next,
		RefreshedAt: in.Now, RefreshedUserAgent: in.UserAgent, RefreshedIPAddress: in.IPAddress,
	}
	var i storage.Identity
	p := newParameters()
	defer p.release()
	p.bytes(in.ID[:])
	p.text(in.ClientID)
	p.integer(in.Generation)
	p.integer(in.Next)
	p.instant(in.Now)
	p.instant(in.UsedAfter)
	p.text(in.UserAgent)
	p.text(in.IPAddress)
	p.text(connectors)
	p.text(limits)
	err := s.transition(ctx, "rotating a grant", func(ctx context.Context, conn *pgx.Conn) error {
		found, err := s.row(ctx, conn, rotate, p, func(w *wire) error { return rotated(w, &g, &i) })
		if err == nil && !found {
			return storage.ErrConflict
		}
		return err
	})
	if err != nil {
		return storage.Grant{}, storage.Identity{}, err
	}
	return g, i, nil
}

// rotated reads what rotate returns.
func rotated(w *wire, g *storage.Grant, i *storage.Identity) error {
	g.ConnectorID, g.UserID, g.SID, g.Scopes = w.text(), w.text(), w.text(), w.list()
	g.AuthTime, g.ACR, g.AMR = w.instant(), w.text(), w.list()
	g.CodeRedeemedAt, g.ExpiresAt = w.instant(), w.instant()
	i.ConnectorID, i.UserID = g.ConnectorID, g.UserID
	i.Name, i.PreferredUsername, i.Email, i.EmailVerified = w.text(), w.text(), w.text(), w.boolean()
	i.Groups, i.CheckedAt, i.ExpiresAt = w.list(), w.instant(), w.instant()
	return w.end()
}

// checkLimits are the limits as two arrays in PostgreSQL's notation (manual,
// section 8.15.2), the connectors and their times. The driver would make them of
// slices, with a dozen allocations.
func checkLimits(all []storage.CheckLimit) (connectors, limits string) {
	names, times := []byte{'{'}, []byte{'{'}
	for i, limit := range all {
		if i > 0 {
			names, times = append(names, ','), append(times, ',')
		}
		names = append(names, '"')
		for _, c := range []byte(limit.ConnectorID) {
			if c == '"' || c == '\\' {
				names = append(names, '\\')
			}
			names = append(names, c)
		}
		names = append(names, '"')
		times = appendTime(times, limit.After)
	}
	return string(append(names, '}')), string(append(times, '}'))
}

// appendTime writes a time as an element of an array. The notation has no years
// before 1, and nothing was checked then.
func appendTime(to []byte, t time.Time) []byte {
	if t = t.UTC(); t.Year() < 1 {
		return append(to, "-infinity"...)
	}
	return t.AppendFormat(to, `"2006-01-02 15:04:05.999999Z07:00"`)
}
