package postgres_test

import (
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/storagetest"
	"github.com/countersign/countersign/storage/storagetest/pgcluster"
)

// insertVersion1 is how a process of the first version stores a grant.
const insertVersion1 = `
INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce,
	code_challenge, code_challenge_method, auth_time, acr, amr, created_at, code_expires_at,
	code_redeemed_at, revoked_at, revoked_reason, expires_at, user_agent, ip_address)
VALUES ($1, 'client', 'connector', 'user', '', '{}', '', '', '', '', $2, '', '{}', $2, $3, $4, NULL, '', $3, 'agent', 'address')`

// sessionVersion1 is how it stores a session.
const sessionVersion1 = `
INSERT INTO sessions (id_hash, sid, connector_id, user_id, auth_time, amr, login_client_ids, remember,
	user_agent, ip_address, created_at, last_used_at, expires_at)
VALUES ($1, 'sid', 'connector', 'user', $2, '{}', '{}', false, '', '', $2, $2, $3)`

// What is stored outlives an upgrade, and the replicas that are upgraded last.
func TestWhatTheFirstVersionStoredWorks(t *testing.T) {
	first, err := os.ReadFile("migrations/00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	dsn := pgcluster.Schema(t)
	s := replicas(t, dsn)[0]
	if err := s.MigrateFiles(t.Context(), fstest.MapFS{"00001_first.sql": {Data: first}}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	v := storagetest.Version1{Pending: storage.GrantID{1}, Redeemed: storage.GrantID{2}, Late: storage.GrantID{3}, Session: [32]byte{1}, LateSession: [32]byte{2},
		CheckedAt: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	exec(`INSERT INTO identities VALUES ('connector', 'user', '', '', '', true, '{}', $1, $2)`, v.CheckedAt, v.CheckedAt.Add(time.Hour))
	exec(insertVersion1, [16]byte(v.Pending), v.CheckedAt, v.CheckedAt.Add(time.Hour), nil)
	exec(insertVersion1, [16]byte(v.Redeemed), v.CheckedAt, v.CheckedAt.Add(time.Hour), v.CheckedAt)
	exec(sessionVersion1, v.Session[:], v.CheckedAt, v.CheckedAt.Add(time.Hour))
	exec(`INSERT INTO consents VALUES ('connector', 'user', 'client', '{}', $1, $2)`, v.CheckedAt, v.CheckedAt.Add(time.Hour))
	exec(`INSERT INTO login_failures VALUES ('\x01', 1, $1, $2)`, v.CheckedAt, v.CheckedAt.Add(time.Hour))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(insertVersion1, [16]byte(v.Late), v.CheckedAt, v.CheckedAt.Add(time.Hour), nil)
	exec(sessionVersion1, v.LateSession[:], v.CheckedAt, v.CheckedAt.Add(time.Hour))
	exec(`UPDATE grants SET code_redeemed_at = $2 WHERE id = $1`, [16]byte(v.Late), v.CheckedAt)
	v.Works(t, s)
}
