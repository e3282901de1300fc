package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/countersign/countersign/storage"
)

// chosen are the conditions of a selector, with their arguments. Each selection
// is a statement of its own, for which there is an index; none serves them all.
func chosen(of storage.Selector) (where []string, args []any) {
	if of.GrantID != (storage.GrantID{}) {
		where, args = append(where, "id = ?"), append(args, of.GrantID[:])
	}
	for _, c := range []struct{ column, value string }{
		{"sid", of.SID}, {"connector_id", of.ConnectorID}, {"user_id", of.UserID}, {"client_id", of.ClientID},
	} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if !of.UnusedSince.IsZero() {
		where, args = append(where, "NOT remember AND last_used_at <= ?"), append(args, micros(of.UnusedSince))
	}
	return where, args
}

// walk lists the rows that a batch looks at, dead ones too, so that it is bounded
// whatever it finds.
func walk(in storage.Revocation) (query string, args []any) {
	where, args := chosen(in.Of)
	order := "id"
	if in.Of.By() == storage.ByConnector {
		where, args = append(where, "(user_id, id) > (?, ?)"), append(args, in.After.UserID, in.After.GrantID[:])
		order = "user_id, id"
	} else {
		where, args = append(where, "id > ?"), append(args, in.After.GrantID[:])
	}
	return fmt.Sprintf(`SELECT id, user_id FROM grants WHERE %s ORDER BY %s LIMIT ?`,
		strings.Join(where, " AND "), order), append(args, in.Limit)
}

// RevokeGrants implements storage.Grants.
func (s *Store) RevokeGrants(ctx context.Context, in storage.Revocation) (storage.Revoked, error) {
	if err := in.Check(); err != nil {
		return storage.Revoked{}, err
	}
	done := storage.Revoked{Next: in.After}
	err := s.write(ctx, "revoking grants", func(tx *tx) error {
		query, args := walk(in)
		walked, err := idsOf(tx, len(storage.GrantID{}), query, args, &done.Next.UserID)
		if err != nil {
			return err
		}
		for _, id := range walked {
			hit, err := tx.hit(`
				UPDATE grants SET revoked_at = ?2, revoked_reason = ?3
				WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2 AND created_at <= ?4`,
				id, micros(in.Now), in.Reason, micros(in.Before))
			if err != nil {
				return err
			}
			if hit {
				done.Rows++
			}
			done.Next.GrantID = storage.GrantID(id)
		}
		done.Done = len(walked) < in.Limit
		return nil
	})
	if err != nil {
		return storage.Revoked{}, err
	}
	return done, nil
}

// idsOf runs a query for ids of so many bytes. What else it returns of each is
// scanned into beside.
func idsOf(tx *tx, size int, query string, args []any, beside any) ([][]byte, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids [][]byte
	for rows.Next() {
		id := make([]byte, size)
		if err := rows.Scan(exactBytes{id}, beside); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// findSessions lists the sessions of a selection.
func findSessions(in storage.SessionEnd) (query string, args []any) {
	where, args := chosen(in.Of)
	where, args = append(where, "auth_time <= ?"), append(args, micros(in.Before))
	order := ""
	switch in.Of.By() {
	case storage.ByConnector: // what is left of the last person is deleted next
		where, args = append(where, "user_id >= ?"), append(args, in.After.UserID)
		order = "ORDER BY user_id"
	case storage.ByUse:
		order = "ORDER BY last_used_at"
	case storage.ByAll:
		where, args = append(where, "id_hash > ?"), append(args, in.After.Session[:])
		order = "ORDER BY id_hash"
	}
	return fmt.Sprintf(`SELECT id_hash, user_id FROM sessions WHERE %s %s LIMIT ?`,
		strings.Join(where, " AND "), order), append(args, in.Limit)
}

// EndSessions implements storage.Sessions.
func (s *Store) EndSessions(ctx context.Context, in storage.SessionEnd) (storage.Revoked, error) {
	if err := in.Check(); err != nil {
		return storage.Revoked{}, err
	}
	done := storage.Revoked{Next: in.After}
	err := s.write(ctx, "ending sessions", func(tx *tx) error {
		query, args := findSessions(in)
		with := ending{Ending: in.With, lapsed: in.Of.By() == storage.ByUse}
		ended, err := endFound(tx, query, args, &done.Next.UserID, with)
		if done.Rows = len(ended); done.Rows > 0 {
			done.Next.Session = [32]byte(ended[done.Rows-1])
		}
		done.Done = done.Rows < in.Limit
		return err
	})
	if err != nil {
		return storage.Revoked{}, err
	}
	return done, nil
}

// endFound ends the sessions that a query finds.
func endFound(tx *tx, query string, args []any, beside any, with ending) ([][]byte, error) {
	found, err := idsOf(tx, len(with.idHash), query, args, beside)
	if err != nil {
		return nil, err
	}
	for _, idHash := range found {
		with.idHash = [32]byte(idHash)
		if _, err := endSession(tx, with); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// SessionsOf implements storage.Sessions.
func (s *Store) SessionsOf(ctx context.Context, in storage.Holding) ([]storage.Session, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	return records(ctx, s, "reading a person's sessions", session, `
		SELECT `+sessionColumns+` FROM sessions s
		WHERE s.connector_id = ? AND s.user_id = ? AND s.expires_at > ? AND (s.remember OR s.last_used_at > ?)
		ORDER BY s.auth_time DESC LIMIT ?`,
		in.ConnectorID, in.UserID, micros(in.Now), micros(in.UsedAfter), in.Limit)
}

// lastGrant is before every page.
var lastGrant = storage.GrantID([]byte(strings.Repeat("\xff", 16)))

// GrantsOf implements storage.Grants.
func (s *Store) GrantsOf(ctx context.Context, in storage.Holding) ([]storage.Grant, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	before := cmp.Or(in.Before, lastGrant)
	return records(ctx, s, "reading a person's grants", grant, `
		SELECT `+grantColumns+` FROM grants g
		WHERE g.connector_id = ?1 AND g.user_id = ?2 AND g.id < ?3 AND g.code_redeemed_at IS NOT NULL
			AND g.revoked_at IS NULL AND g.expires_at > ?4
			AND (?5 = '' OR EXISTS (SELECT 1 FROM json_each(g.scopes) WHERE value = ?5))
		ORDER BY g.id DESC LIMIT ?6`,
		in.ConnectorID, in.UserID, before[:], micros(in.Now), in.Scope, in.Limit)
}

// records reads records.
func records[T any](ctx context.Context, s *Store, doing string, columns func(*T) []any, query string, args ...any) ([]T, error) {
	var found []T
	err := s.read(ctx, doing, func(tx *tx) error {
		rows, err := tx.Query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one T
			if err := rows.Scan(columns(&one)...); err != nil {
				return err
			}
			found = append(found, one)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
