package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/server"
	"github.com/countersign/countersign/storage"
)

// downStore is a database that does not answer yet.
type downStore struct {
	server.Store
	tries chan struct{}
}

func (s downStore) Migrate(context.Context) error {
	select {
	case s.tries <- struct{}{}:
	default:
	}
	return storage.ErrUnavailable
}

// I5 before the start: a provider without its database answers every request of
// the protocol 503 with Retry-After, in the language of who asks, and nothing
// that could be cached or taken for a yes.
func TestNothingBeforeTheStart(t *testing.T) {
	t.Parallel()
	w := &world{t: t, clock: new(clock), issuer: "http://idp.example/dex"}
	down := downStore{tries: make(chan struct{}, 1)}
	w.store = down
	cfg := w.config(t)
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-down.tries // it goes on trying
	<-down.tries
	for _, request := range []string{
		"GET /dex/.well-known/openid-configuration", "GET /dex/.well-known/oauth-authorization-server", "GET /.well-known/oauth-authorization-server/dex",
		"GET /dex/keys", "POST /dex/token", "GET /dex/userinfo", "POST /dex/userinfo",
		"GET /dex/auth", "POST /dex/auth", "GET /dex/flow/x", "GET /dex/flow/x/consent", "POST /dex/flow/x/login/staff", "GET /dex/", "POST /dex/logout",
	} {
		method, path, _ := strings.Cut(request, " ")
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		h := rec.Header()
		if rec.Code != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", request, rec.Code, h)
		}
		program := strings.Contains(path, "well-known") || strings.HasSuffix(path, "keys") || strings.HasSuffix(path, "token") || strings.HasSuffix(path, "userinfo")
		if program != (h.Get("Content-Type") == "application/json") {
			t.Errorf("%s: Content-Type %q", request, h.Get("Content-Type"))
		}
	}
	for path, want := range map[string]int{"/dex/healthz": 200, "/dex/readyz": 503} {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("stopping: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not stop while it waits for the database")
	}
}
