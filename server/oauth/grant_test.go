package oauth_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func TestNewGrant(t *testing.T) {
	r := oauth.AuthorizeRequest{
		ClientID: "web", RedirectURI: "https://app.example.com/cb", Scopes: []string{"openid"}, Nonce: "n", State: "never kept",
		CodeChallenge: challenge, CodeChallengeMethod: "S256",
	}
	s := storage.Session{SID: "sid-1", ConnectorID: "ldap", UserID: "jane", AuthTime: now.Add(-time.Hour), AMR: []string{"pwd"}}
	got := oauth.NewGrant(storage.GrantID{1}, r, s, policy(), "Firefox", "192.0.2.1", now)
	want := storage.Grant{
		ID: storage.GrantID{1}, ClientID: "web", ConnectorID: "ldap", UserID: "jane", SID: "sid-1", Scopes: []string{"openid"},
		RedirectURI: "https://app.example.com/cb", Nonce: "n", CodeChallenge: challenge, CodeChallengeMethod: "S256",
		// auth_time is the session's, not this request's (OpenID Connect Core 1.0 section 2).
		AuthTime: now.Add(-time.Hour), ACR: "1", AMR: []string{"pwd"}, CreatedAt: now,
		// Until it is redeemed, a grant lives as long as its code.
		CodeExpiresAt: now.Add(time.Minute), ExpiresAt: now.Add(time.Minute), UserAgent: "Firefox", IPAddress: "192.0.2.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Nothing that a token needs is deleted before the token dies.
func TestLifetimes(t *testing.T) {
	p := policy()
	s := storage.Session{ExpiresAt: now.Add(24 * time.Hour)}
	lastCode := s.ExpiresAt.Add(-time.Microsecond)
	lastRedemption := oauth.NewGrant(storage.GrantID{}, oauth.AuthorizeRequest{}, s, p, "", "", lastCode).CodeExpiresAt
	if until := oauth.RedeemedUntil(p, webClient(), grant(), lastRedemption); oauth.IdentityUntil(p, s).Before(until) {
		t.Errorf("the identity is gone at %v, the last grant lives until %v", oauth.IdentityUntil(p, s), until)
	}
	if got, want := oauth.RedeemedUntil(p, webClient(), grant(), now), now.Add(p.AccessTokenLifetime); !got.Equal(want) {
		t.Errorf("RedeemedUntil = %v, want %v", got, want)
	}
	// With refresh tokens, at their absolute end: the client's, or the server's.
	offline, week := grant(), webClient()
	offline.Scopes = []string{"openid", "offline_access"}
	week.RefreshTokens.AbsoluteLifetime = 7 * 24 * time.Hour
	for _, test := range []struct {
		client storage.Client
		want   time.Duration
	}{{webClient(), 30 * 24 * time.Hour}, {week, 7 * 24 * time.Hour}} {
		if got := oauth.RedeemedUntil(p, test.client, offline, now); !got.Equal(now.Add(test.want)) {
			t.Errorf("RedeemedUntil = %v, want %v from now", got, test.want)
		}
	}
}

func TestNewConsent(t *testing.T) {
	r := oauth.AuthorizeRequest{ClientID: "web", Scopes: []string{"openid", "groups"}}
	s := storage.Session{ConnectorID: "ldap", UserID: "jane"}
	for _, test := range []struct {
		name         string
		before, want []string
	}{
		{"the first", nil, []string{"openid", "groups"}},
		{"more", []string{"openid", "email"}, []string{"openid", "email", "groups"}},
		{"the same", []string{"groups", "openid"}, []string{"groups", "openid"}},
	} {
		before := append(make([]string, 0, 10), test.before...)
		got := oauth.NewConsent(r, s, before, now)
		want := storage.Consent{ConnectorID: "ldap", UserID: "jane", ClientID: "web", Scopes: test.want, GrantedAt: now, ExpiresAt: now.AddDate(0, 0, 365)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if room := before[:cap(before)]; len(before) < len(room) && room[len(before)] != "" {
			t.Errorf("%s: the caller's slice was written to", test.name)
		}
	}
}

// OpenID Connect Core 1.0 section 3.1.2.1: "the Authorization Server … MUST
// validate that it was the issuer".
func TestHintSubject(t *testing.T) {
	for _, test := range []struct{ name, payload, want string }{
		{"ours", `{"iss":"` + issuer + `","sub":"jane","aud":"web"}`, "jane"},
		{"expired", `{"iss":"` + issuer + `","sub":"jane","exp":1}`, "jane"},
		{"of another client", `{"iss":"` + issuer + `","sub":"jane","aud":"another"}`, "jane"},
		{"of another issuer", `{"iss":"https://evil.example","sub":"jane"}`, ""},
		{"of an issuer below", `{"iss":"` + issuer + `/","sub":"jane"}`, ""},
		{"without issuer", `{"sub":"jane"}`, ""},
		{"without subject", `{"iss":"` + issuer + `"}`, ""},
		{"subject of another type", `{"iss":"` + issuer + `","sub":["jane"]}`, ""},
		{"an array", `[]`, ""},
		{"null", `null`, ""},
		{"nothing", ``, ""},
		{"cut off", `{"iss":"` + issuer + `","sub":"ja`, ""},
	} {
		if got := oauth.HintSubject(policy(), []byte(test.payload)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
