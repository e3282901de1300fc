package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/storagetest"
)

// insertVersion1 is how a process of the first version stores a grant.
const insertVersion1 = `
INSERT INTO grants (id, client_id, connector_id, user_id, sid, scopes, redirect_uri, nonce,
	code_challenge, code_challenge_method, auth_time, acr, amr, created_at, code_expires_at,
	code_redeemed_at, revoked_at, revoked_reason, expires_at, user_agent, ip_address)
VALUES (?1, 'client', 'connector', 'user', '', '[]', '', '', '', '', ?2, '', '[]', ?2, ?3, ?4, NULL, '', ?3, 'agent', 'address')`

// sessionVersion1 is how it stores a session.
const sessionVersion1 = `
INSERT INTO sessions (id_hash, sid, connector_id, user_id, auth_time, amr, login_client_ids, remember,
	user_agent, ip_address, created_at, last_used_at, expires_at)
VALUES (?1, 'sid', 'connector', 'user', ?2, '[]', '[]', 0, '', '', ?2, ?2, ?3)`

// What is stored outlives an upgrade, and the processes that are upgraded last.
func TestWhatTheFirstVersionStoredWorks(t *testing.T) {
	first, err := os.ReadFile("migrations/00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.db")
	s := replicas(t, file)[0]
	if err := s.MigrateFiles(t.Context(), fstest.MapFS{"00001_first.sql": {Data: first}}); err != nil {
		t.Fatal(err)
	}
	db := plain(t, file)
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	v := storagetest.Version1{Pending: storage.GrantID{1}, Redeemed: storage.GrantID{2}, Late: storage.GrantID{3}, Session: [32]byte{1}, LateSession: [32]byte{2},
		CheckedAt: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
	at, later := v.CheckedAt.UnixMicro(), v.CheckedAt.Add(time.Hour).UnixMicro()
	exec(`INSERT INTO identities VALUES ('connector', 'user', '', '', '', 1, '[]', ?, ?)`, at, later)
	exec(insertVersion1, v.Pending[:], at, later, nil)
	exec(insertVersion1, v.Redeemed[:], at, later, at)
	exec(sessionVersion1, v.Session[:], at, later)
	exec(`INSERT INTO consents VALUES ('connector', 'user', 'client', '[]', ?, ?)`, at, later)
	exec(`INSERT INTO login_failures VALUES (x'01', 1, ?, ?)`, at, later)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(insertVersion1, v.Late[:], at, later, nil)
	exec(sessionVersion1, v.LateSession[:], at, later)
	exec(`UPDATE grants SET code_redeemed_at = ?2 WHERE id = ?1`, v.Late[:], at)
	v.Works(t, s)
}
