package flow

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/server/seal"
)

// sealing is as much of a Flow as seals and opens its state.
func sealing(t testing.TB, now *time.Time) *Flow {
	t.Helper()
	keyring, err := seal.New([][]byte{bytes.Repeat([]byte("k"), 32)}, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	return &Flow{
		cfg: Config{BasePath: "/dex", Lifetime: time.Hour, Now: func() time.Time { return *now }},
		box: keyring.Box("flow"),
	}
}

// zeros make the sealed seeds the same in every run.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func someState(now time.Time) state {
	age := 5 * time.Minute
	return state{
		Request: oauth.AuthorizeRequest{
			ClientID: "app", RedirectURI: "https://app.example/cb", ResponseMode: "query", State: "s <&>\u2028", Scopes: []string{"openid"},
			Nonce: "n", Prompt: []string{"login"}, MaxAge: &age, UILocales: []string{"de"},
		},
		StartedAt: now.Unix(), LoginSID: "sid",
	}
}

// carried is the value of the cookie that carries a state.
func carried(t testing.TB, f *Flow, id string, st state) string {
	t.Helper()
	rec := httptest.NewRecorder()
	if err := f.carry(rec, id, st, f.cfg.Lifetime); err != nil {
		t.Fatal(err)
	}
	return (&http.Response{Header: rec.Header()}).Cookies()[0].Value
}

// What is carried comes back as it was, until it is too old, and in its own flow
// only.
func TestStateIsCarried(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := sealing(t, &now)
	want := someState(now)
	value := carried(t, f, "id", want)
	if got, err := f.unseal("id", value); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	for _, id := range []string{"", "ID", "id2", "i"} {
		if _, err := f.unseal(id, value); err != errNoFlow {
			t.Errorf("opened as %q: %v", id, err)
		}
	}
	now = now.Add(time.Hour)
	if f.over(want, http.MethodGet) {
		t.Error("over at the end of its life")
	}
	now = now.Add(time.Second)
	if !f.over(want, http.MethodGet) || !f.over(want, http.MethodPost) {
		t.Error("not over although too old")
	}
}

// A flow that was answered takes a form for a moment more, and nothing else.
func TestStateIsOver(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := sealing(t, &now)
	st := someState(now)
	st.EndedAt = now.UnixMilli()
	if f.over(st, http.MethodPost) || !f.over(st, http.MethodGet) {
		t.Error("a finished flow takes a page, or no form")
	}
	now = now.Add(again + time.Millisecond)
	if !f.over(st, http.MethodPost) {
		t.Error("a finished flow takes a form later on")
	}
}

// A mark fits into the room that is kept for it.
func TestMarkRoom(t *testing.T) {
	now := time.Now()
	f := sealing(t, &now)
	bare, marked := someState(now), someState(now)
	bare.LoginSID = ""
	marked.LoginSID = "AAAAAAAAAAAAAAAAAAAAAA" // 128 bits in base64url, as sessions have it
	if grown := len(carried(t, f, "id", marked)) - len(carried(t, f, "id", bare)); grown > markRoom || bare.room()-marked.room() != markRoom {
		t.Errorf("a mark takes %d bytes, of %d", grown, markRoom)
	}
	another := bare
	another.Another = true
	if grown := len(carried(t, f, "id", another)) - len(carried(t, f, "id", bare)); grown > anotherRoom || bare.room()-another.room() != anotherRoom {
		t.Errorf("another account takes %d bytes, of %d", grown, anotherRoom)
	}
}

// FuzzUnseal: whatever a cookie holds, it is our own state or none, and never a
// panic.
func FuzzUnseal(f *testing.F) {
	fuzz.Widely(f)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	flow := sealing(f, &now)
	want := someState(now)
	value := carried(f, flow, "id", want)
	f.Add("id", value)
	f.Add("id", value[:len(value)-1])
	f.Add("id", value+"=")
	f.Add("id", value[:8]+"\r\n"+value[8:])
	f.Add("di", value)
	f.Add("", "")
	f.Add("id", "AAAA")
	f.Add("id", "%%%")
	f.Fuzz(func(t *testing.T, id, value string) {
		got, err := flow.unseal(id, value)
		switch {
		case err == nil && (id != "id" || !reflect.DeepEqual(got, want)):
			t.Errorf("%q opens as %q: %+v", value, id, got)
		case err != nil && (err != errNoFlow || !reflect.DeepEqual(got, state{})):
			t.Errorf("%v, %+v", err, got)
		}
	})
}

// FuzzStateJSON: a state that could be sealed is carried without a loss.
func FuzzStateJSON(f *testing.F) {
	fuzz.Widely(f)
	f.Add("app", "https://app.example/cb", "state", "hint")
	f.Add("", "", "\u2028<script>", "\x7f\"\\")
	now := time.Now()
	flow := sealing(f, &now)
	f.Fuzz(func(t *testing.T, client, redirect, echoed, hint string) {
		st := state{Request: oauth.AuthorizeRequest{ClientID: client, RedirectURI: redirect, State: echoed, LoginHint: hint}, StartedAt: now.Unix()}
		for _, s := range []string{client, redirect, echoed, hint} {
			var back string
			if raw, _ := json.Marshal(s); json.Unmarshal(raw, &back) != nil || back != s {
				return // not UTF-8: refused before it gets here
			}
		}
		rec := httptest.NewRecorder()
		if err := flow.carry(rec, "id", st, time.Minute); err != nil {
			return // too large
		}
		got, err := flow.unseal("id", (&http.Response{Header: rec.Header()}).Cookies()[0].Value)
		if err != nil || !reflect.DeepEqual(got, st) {
			t.Errorf("%v\n%+v, want\n%+v", err, got, st)
		}
	})
}
