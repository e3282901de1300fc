package audit_test

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/request"
	"github.com/countersign/countersign/storage"
)

// BenchmarkWrite is the record of a refresh, as each refresh writes one.
func BenchmarkWrite(b *testing.B) {
	b.Run("nowhere", func(b *testing.B) { benchmark(b, io.Discard) })
	b.Run("file", func(b *testing.B) {
		file, err := audit.OpenFile(filepath.Join(b.TempDir(), "audit.log"), time.Now)
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close()
		benchmark(b, file)
	})
}

func benchmark(b *testing.B, output io.Writer) {
	l, err := audit.New(audit.Config{Output: output, Count: func(string) {}, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	entry, err := request.New(request.Config{Logger: slog.New(slog.DiscardHandler), Random: rand.Reader, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	g := storage.Grant{ID: storage.GrantID{1}, ClientID: "kubernetes", ConnectorID: "ldap", UserID: "08a8684b-db88-4b73-90a9-3cd1661f5466", SID: "AAAAAAAAAAAAAAAAAAAAAA"}
	r := httptest.NewRequest(http.MethodPost, "/token", nil)
	r.Header.Set("User-Agent", "kubelogin/1.28.0 (linux/amd64)")
	entry.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b.ReportAllocs()
		for b.Loop() {
			l.Write(r.Context(), audit.TokenRefreshed{Grant: audit.GrantOf(g), Generation: 7})
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}
