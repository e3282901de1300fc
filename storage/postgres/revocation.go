package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
)

// statement is a statement in the making, with its arguments. Each selection has
// one of its own, for which there is an index; none serves them all.
type statement struct{ args []any }

// arg adds an argument and returns its placeholder.
func (s *statement) arg(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// chosen are the conditions of a selector.
func (s *statement) chosen(of storage.Selector) []string {
	var all []string
	if of.GrantID != (storage.GrantID{}) {
		all = append(all, "id = "+s.arg([16]byte(of.GrantID)))
	}
	for _, c := range []struct{ column, value string }{
		{"sid", of.SID}, {"connector_id", of.ConnectorID}, {"user_id", of.UserID}, {"client_id", of.ClientID},
	} {
		if c.value != "" {
			all = append(all, c.column+" = "+s.arg(c.value))
		}
	}
	if !of.UnusedSince.IsZero() {
		all = append(all, "NOT remember AND last_used_at <= "+s.arg(of.UnusedSince))
	}
	return all
}

// revokeGrants walks over rows in the order of an index, dead ones too, so that a
// batch is bounded whatever it finds, and locks what it ends in the order of their
// ids, so that two callers do not wait for one another.
func revokeGrants(in storage.Revocation) (query string, args []any) {
	var s statement
	where, order := s.chosen(in.Of), "id"
	if in.Of.By() == storage.ByConnector {
		where = append(where, "(user_id, id) > ("+s.arg(in.After.UserID)+", "+s.arg([16]byte(in.After.GrantID))+")")
		order = "user_id, id"
	} else {
		where = append(where, "id > "+s.arg([16]byte(in.After.GrantID)))
	}
	now := s.arg(in.Now)
	query = fmt.Sprintf(`
		WITH walked AS MATERIALIZED (SELECT id, user_id FROM grants WHERE %s ORDER BY %s LIMIT %s),
			live AS (SELECT g.id FROM grants g JOIN walked w ON g.id = w.id
				WHERE g.revoked_at IS NULL AND g.expires_at > %s AND g.created_at <= %s
				ORDER BY g.id FOR NO KEY UPDATE OF g),
			revoked AS (UPDATE grants g SET revoked_at = %s, revoked_reason = %s FROM live WHERE g.id = live.id RETURNING 1)
		SELECT user_id, id, (SELECT count(*) FROM walked), (SELECT count(*) FROM revoked)
		FROM walked ORDER BY user_id DESC, id DESC LIMIT 1`,
		strings.Join(where, " AND "), order, s.arg(in.Limit), now, s.arg(in.Before), now, s.arg(in.Reason))
	if order == "id" {
		query = strings.Replace(query, "ORDER BY user_id DESC, id DESC", "ORDER BY id DESC", 1)
	}
	return query, s.args
}

// RevokeGrants implements storage.Grants, in one statement. It is planned each
// time, for the limit it is given.
func (s *Store) RevokeGrants(ctx context.Context, in storage.Revocation) (storage.Revoked, error) {
	if err := in.Check(); err != nil {
		return storage.Revoked{}, err
	}
	var done storage.Revoked
	smaller := halving(&in.Limit)
	err := s.transition(ctx, "revoking grants", func(ctx context.Context, conn *pgx.Conn) error {
		smaller()
		query, args := revokeGrants(in)
		rows, err := conn.Query(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		walked := 0
		done = storage.Revoked{Next: in.After}
		if rows.Next() {
			if err := rows.Scan(&done.Next.UserID, (*[16]byte)(&done.Next.GrantID), &walked, &done.Rows); err != nil {
				return err
			}
		}
		rows.Close()
		done.Done = walked < in.Limit
		return rows.Err()
	})
	if err == nil && done.Done && done.Rows == 0 {
		err = s.confirm(ctx)
	}
	if err != nil {
		return storage.Revoked{}, err
	}
	return done, nil
}

// halving returns what each attempt at a batch calls first: all but the first have
// half of the one before to do. An engine that runs transactions as if one came after
// the other rolls back a batch of which anybody has changed a row meanwhile, and in a
// large one somebody always has.
func halving(limit *int) (smaller func()) {
	first := true
	return func() {
		if !first {
			*limit = max(1, *limit/2)
		}
		first = false
	}
}

// confirm is for who finds nothing left to end: perhaps an earlier call ended it,
// and gave up waiting for a synchronous standby. PostgreSQL acknowledges a commit
// when the standby has it and all before it, so this one is for those. It has to
// write something, whatever it is.
func (s *Store) confirm(ctx context.Context) error {
	_, err := decided(s.hit(ctx, "confirming what has ended", `UPDATE master_secret SET created_at = created_at WHERE id = 1`))
	return err
}

// lockSessions finds the sessions of a selection and waits for whoever uses them.
func lockSessions(in storage.SessionEnd) (query string, args []any) {
	var s statement
	where := append(s.chosen(in.Of), "auth_time <= "+s.arg(in.Before))
	order := ""
	switch in.Of.By() {
	case storage.ByConnector: // what is left of the last person is deleted next
		where = append(where, "user_id >= "+s.arg(in.After.UserID))
		order = "ORDER BY user_id"
	case storage.ByUse:
		order = "ORDER BY last_used_at"
	case storage.ByAll:
		where = append(where, "id_hash > "+s.arg(in.After.Session[:]))
		order = "ORDER BY id_hash"
	}
	return fmt.Sprintf(`SELECT id_hash, user_id FROM sessions WHERE %s %s LIMIT %s FOR UPDATE`,
		strings.Join(where, " AND "), order, s.arg(in.Limit)), s.args
}

// EndSessions implements storage.Sessions.
func (s *Store) EndSessions(ctx context.Context, in storage.SessionEnd) (storage.Revoked, error) {
	if err := in.Check(); err != nil {
		return storage.Revoked{}, err
	}
	var done storage.Revoked
	smaller := halving(&in.Limit)
	err := s.transition(ctx, "ending sessions", func(ctx context.Context, conn *pgx.Conn) error {
		smaller()
		done = storage.Revoked{Next: in.After}
		query, args := lockSessions(in)
		ended, err := s.endFound(ctx, conn, query, args, &done.Next.UserID, in.Of.By() == storage.ByUse, in.With)
		if done.Rows = len(ended); done.Rows > 0 {
			done.Next.Session = [32]byte(ended[done.Rows-1])
		}
		done.Done = done.Rows < in.Limit
		return err
	})
	if err == nil && done.Done && done.Rows == 0 && in.Of.By() != storage.ByUse { // time ends those, nobody waits
		err = s.confirm(ctx)
	}
	if err != nil {
		return storage.Revoked{}, err
	}
	return done, nil
}

// endFound is a transaction of its own: it ends the sessions that a query finds
// and locks. What else the query returns of each is scanned into beside.
func (s *Store) endFound(ctx context.Context, conn *pgx.Conn, query string, args []any, beside any, lapsed bool, with storage.Ending) (ended [][]byte, err error) {
	if _, err := conn.Exec(ctx, s.begin); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var idHash [32]byte
		if err := rows.Scan(exactBytes{idHash[:]}, beside); err != nil {
			return nil, err
		}
		ended = append(ended, idHash[:])
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var b pgx.Batch
	if len(ended) > 0 {
		b.Queue(endSessions, endingValues(ended, "", lapsed, with)...)
	}
	b.Queue("commit")
	return ended, conn.SendBatch(ctx, &b).Close()
}

// SessionsOf implements storage.Sessions.
func (s *Store) SessionsOf(ctx context.Context, in storage.Holding) ([]storage.Session, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	var found []storage.Session
	err := s.read(ctx, "reading a person's sessions", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT `+sessionColumns+` FROM sessions s
			WHERE s.connector_id = $1 AND s.user_id = $2 AND s.expires_at > $3 AND (s.remember OR s.last_used_at > $4)
			ORDER BY s.auth_time DESC LIMIT $5`,
			in.ConnectorID, in.UserID, in.Now, in.UsedAfter, in.Limit)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f storage.Session, err error) {
			return f, row.Scan(session(&f)...)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return full(found), nil
}

// lastGrant is before every page.
var lastGrant = storage.GrantID([]byte(strings.Repeat("\xff", 16)))

// GrantsOf implements storage.Grants.
func (s *Store) GrantsOf(ctx context.Context, in storage.Holding) ([]storage.Grant, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	before := cmp.Or(in.Before, lastGrant)
	var found []storage.Grant
	err := s.read(ctx, "reading a person's grants", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT `+grantColumns+` FROM grants g
			WHERE g.connector_id = $1 AND g.user_id = $2 AND g.id < $3 AND g.code_redeemed_at IS NOT NULL
				AND g.revoked_at IS NULL AND g.expires_at > $4 AND ($5 = '' OR $5 = ANY (g.scopes))
			ORDER BY g.id DESC LIMIT $6`,
			in.ConnectorID, in.UserID, [16]byte(before), in.Now, in.Scope, in.Limit)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f storage.Grant, err error) {
			return f, row.Scan(grant(&f)...)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return full(found), nil
}
