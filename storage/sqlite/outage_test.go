package sqlite_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

func TestBeforeMigratingIsUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	s := replicas(t, file)[0]
	for method, call := range storagetest.Calls(t, s) {
		if err := call(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a call made the file: %v", err)
	}
}

// Another process that holds the file is waited for, not for ever, and reads go on.
func TestLockedFileIsUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	patient := open(t, sqlite.Config{File: file})
	hurried, err := sqlite.Open(sqlite.Config{File: file, StatementTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer hurried.Close()
	in, now := storagetest.Valid()
	if err := storagetest.ErrorOf(patient.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	other, err := plain(t, file).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), `BEGIN EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	if err := hurried.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: now}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("redeeming: %v", err)
	}
	if err := patient.Migrate(t.Context()); err != nil { // there is nothing to write
		t.Errorf("migrating: %v", err)
	}
	if _, _, err := patient.Grant(t.Context(), in.Grant.ID, now); err != nil {
		t.Errorf("reading: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := patient.RedeemCode(ctx, storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: now}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("redeeming with a deadline: %v", err)
	}
	if _, err := other.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	// Whoever is hurried goes on without help. What it has no time for is not done.
	for end := time.Now().Add(patience); ; {
		err := hurried.RedeemCode(t.Context(), storage.Redemption{ID: in.Grant.ID, Now: now, ExpiresAt: now.Add(time.Hour)})
		if err == nil {
			return
		}
		if !errors.Is(err, storage.ErrUnavailable) || time.Now().After(end) {
			t.Fatalf("redeeming after the outage: %v", err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []sqlite.Config{{}, {File: "a", StatementTimeout: -1}, {File: "a", MaxOpenReaders: -1}} {
		if _, err := sqlite.Open(c); err == nil {
			t.Errorf("%+v: accepted", c)
		}
	}
	s := replicas(t, "/dev/null/test.db")[0]
	if err := s.Migrate(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a folder that cannot be: %v", err)
	}
}

// child names the file that the test binary writes to until it is killed.
const child = "COUNTERSIGN_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if order := os.Getenv(dying); order != "" {
		os.Exit(takeOrder(order))
	}
	file := os.Getenv(child)
	if file == "" {
		os.Exit(m.Run())
	}
	s, err := sqlite.Open(sqlite.Config{File: file})
	if err == nil {
		err = s.Migrate(context.Background())
	}
	for err == nil {
		in, _ := storagetest.Valid()
		if err = storagetest.ErrorOf(s.SignIn(context.Background(), in)); err == nil {
			fmt.Println(in.Grant.ID, hex.EncodeToString(in.Session.IDHash[:]))
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// What was acknowledged before the process is killed is there, and nothing is
// there by half.
func TestKillInTheMiddle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, now := storagetest.Valid()
	total := 0
	for round := range 5 {
		acknowledged := writeAndKill(t, self, file, 5+7*round)
		total += len(acknowledged)
		s := open(t, sqlite.Config{File: file})
		for _, line := range acknowledged {
			var grant storage.GrantID
			var session [32]byte
			ids := strings.Fields(line)
			if len(ids) != 2 || !decode(grant[:], ids[0]) || !decode(session[:], ids[1]) {
				t.Fatalf("the child wrote %q", line)
			}
			if _, _, err := s.Grant(t.Context(), grant, now); err != nil {
				t.Errorf("grant: %v", err)
			}
			if _, _, err := s.Session(t.Context(), session, now); err != nil {
				t.Errorf("session: %v", err)
			}
		}
	}
	var state string
	var sessions, grants, identities int
	db := plain(t, file)
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&state); err != nil || state != "ok" {
		t.Errorf("integrity %q, %v", state, err)
	}
	err = db.QueryRow(`SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM grants), (SELECT count(*) FROM identities)`).
		Scan(&sessions, &grants, &identities)
	if err != nil || sessions != grants || grants != identities || grants < total {
		t.Errorf("%d acknowledged, %d sessions, %d grants, %d identities, %v", total, sessions, grants, identities, err)
	}
}

func decode(to []byte, text string) bool {
	n, err := hex.Decode(to, []byte(text))
	return err == nil && n == len(to)
}

// writeAndKill lets a child acknowledge some sign-ins, kills it in the next, and
// returns what it acknowledged.
func writeAndKill(t *testing.T, self, file string, some int) []string {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), child+"="+file)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == some {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed, as asked
	if len(acknowledged) < some {
		t.Fatalf("the child acknowledged %d", len(acknowledged))
	}
	return acknowledged
}
