package sqlite_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

// One session has made many grants, and all of them end with it, by one statement,
// which remembers what it changes. Where nothing but the database's folder can be
// written to, it would fail if it wanted a file for that. (Not parallel: the limit is
// the process's.)
func TestNoTemporaryFileIsNeeded(t *testing.T) {
	s := open(t, sqlite.Config{File: filepath.Join(t.TempDir(), "test.db")})
	in, now := storagetest.Valid()
	if err := storagetest.ErrorOf(s.SignIn(t.Context(), in)); err != nil {
		t.Fatal(err)
	}
	var last storage.GrantID
	for range 200 {
		other, _ := storagetest.Valid()
		g := *in.Grant
		g.ID, g.SID, last = other.Grant.ID, in.Session.SID, other.Grant.ID
		if err := s.Authorize(t.Context(), storage.Authorization{Session: in.Session.IDHash, Grant: g}); err != nil {
			t.Fatal(err)
		}
	}
	more := noMoreFiles(t)
	ended, err := s.EndSession(t.Context(), in.Session.IDHash, storage.Ending{
		Now: now, Reason: "because", RevokeClientIDs: []string{in.Grant.ClientID}, TellUntil: now,
	})
	more()
	if !ended || err != nil {
		t.Errorf("ended %v, %v", ended, err)
	}
	if g, _, err := s.Grant(t.Context(), last, now); err != nil || g.RevokedAt.IsZero() {
		t.Errorf("the last grant was revoked at %v, %v", g.RevokedAt, err)
	}
}

// noMoreFiles lets the process open no file, until more is called.
func noMoreFiles(t *testing.T) (more func()) {
	t.Helper()
	next, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = uint64(next.Fd()) // all below it are open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}
}
