package oauth_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func jane() storage.Identity {
	return storage.Identity{
		ConnectorID: "ldap", UserID: "jane", Name: "Jane Doe", PreferredUsername: "jane", Email: "jane@example.com", EmailVerified: true,
		Groups: []string{"dev", "ops"},
	}
}

func marshal(t *testing.T, v any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// OpenID Connect Core 1.0 section 2.
func TestIDToken(t *testing.T) {
	got := marshal(t, oauth.NewIDToken(policy(), webClient(), grant(), jane(), "RS256", "dNZX1hEZ9wBCzNL40Upu646bdzQA", now))
	want := map[string]any{
		"iss": issuer, "sub": "CgRqYW5lEgRsZGFw", "aud": "web", "exp": 1772601367.0, "iat": 1772600767.0, "auth_time": 1772597167.0,
		"nonce": "n", "acr": "1", "amr": []any{"pwd"}, "at_hash": "wfgvmE9VxjAudsl9lc6TqA", "sid": "sid-1",
		"email": "jane@example.com", "email_verified": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What was not asked for is not there, not even empty.
	g := grant()
	g.Nonce, g.AMR, g.Scopes = "", nil, []string{"openid"}
	got = marshal(t, oauth.NewIDToken(policy(), webClient(), g, jane(), "RS256", "x", now))
	for _, claim := range []string{"nonce", "amr", "azp", "email", "email_verified", "name", "preferred_username", "groups", "federated_claims"} {
		if v, ok := got[claim]; ok {
			t.Errorf("%s is %v although nobody asked", claim, v)
		}
	}
}

// OpenID Connect Core 1.0 section 5.4: each scope releases its claims and no
// others, in the id_token and at the userinfo endpoint alike.
func TestClaimsPerScope(t *testing.T) {
	federated := map[string]any{"connector_id": "ldap", "user_id": "jane"}
	full, empty := jane(), storage.Identity{ConnectorID: "ldap", UserID: "jane"}
	unverified := jane()
	unverified.EmailVerified = false
	for _, test := range []struct {
		name   string
		scopes string
		id     storage.Identity
		want   map[string]any
	}{
		{"openid", "openid", full, map[string]any{}},
		{"email", "openid email", full, map[string]any{"email": "jane@example.com", "email_verified": true}},
		// Section 5.1: false is said, not left out.
		{"email, unverified", "openid email", unverified, map[string]any{"email": "jane@example.com", "email_verified": false}},
		{"email, none known", "openid email", empty, map[string]any{}},
		{"profile", "openid profile", full, map[string]any{"name": "Jane Doe", "preferred_username": "jane"}},
		{"profile, nothing known", "openid profile", empty, map[string]any{}},
		{"groups", "openid groups", full, map[string]any{"groups": []any{"dev", "ops"}}},
		{"groups, none", "openid groups", empty, map[string]any{}},
		{"federated:id", "openid federated:id", full, map[string]any{"federated_claims": federated}},
		{"offline_access", "openid offline_access", full, map[string]any{}},
		{"an audience", "openid audience:server:client_id:email", full, map[string]any{}},
		{"names that begin alike", "openid emails profile2 groupsx", full, map[string]any{}},
		{"all", "openid email profile groups federated:id", full, map[string]any{
			"email": "jane@example.com", "email_verified": true, "name": "Jane Doe", "preferred_username": "jane", "groups": []any{"dev", "ops"}, "federated_claims": federated}},
	} {
		g := grant()
		g.Scopes = strings.Fields(test.scopes)
		info := marshal(t, oauth.NewUserInfo(g, g.Scopes, test.id))
		// Section 5.3.2: sub is always there, and the id_token's.
		if info["sub"] != "CgRqYW5lEgRsZGFw" {
			t.Errorf("%s: sub is %v", test.name, info["sub"])
		}
		delete(info, "sub")
		if diff := cmp.Diff(test.want, info); diff != "" {
			t.Errorf("%s, userinfo (-want +got):\n%s", test.name, diff)
		}
		token := marshal(t, oauth.NewIDToken(policy(), webClient(), g, test.id, "RS256", "x", now))
		for _, claim := range []string{"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid"} {
			delete(token, claim)
		}
		if diff := cmp.Diff(test.want, token); diff != "" {
			t.Errorf("%s, id_token (-want +got):\n%s", test.name, diff)
		}
	}
}

// SECURITY: concourse/dex CVE-2020-5415: who a person is rests on the connector
// and its immutable id, never on a name or an address.
func TestSubjectIsNotWhatPeopleCallThemselves(t *testing.T) {
	impostor := jane()
	g := grant()
	g.UserID, impostor.UserID = "mallory", "mallory"
	if a, b := oauth.NewUserInfo(grant(), grant().Scopes, jane()), oauth.NewUserInfo(g, g.Scopes, impostor); a.Subject == b.Subject {
		t.Error("two people with the same name and address have the same sub")
	}
}

// OpenID Connect Core 1.0 section 2, aud and azp; RFC 7519 section 4.1.3.
func TestAudienceClaims(t *testing.T) {
	const aud = " audience:server:client_id:"
	for _, test := range []struct {
		scopes string
		aud    any
		azp    any
	}{
		{"openid", "web", nil},
		{"openid" + aud + "web", "web", nil},
		{"openid" + aud + "k8s", []any{"k8s", "web"}, "web"},
		{"openid" + aud + "k8s" + aud + "api", []any{"k8s", "api", "web"}, "web"},
		{"openid" + aud + "web" + aud + "k8s", []any{"web", "k8s"}, "web"},
	} {
		g := grant()
		g.Scopes = strings.Fields(test.scopes)
		got := marshal(t, oauth.NewIDToken(policy(), webClient(), g, jane(), "RS256", "x", now))
		if diff := cmp.Diff([]any{test.aud, test.azp}, []any{got["aud"], got["azp"]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.scopes, diff)
		}
	}
}

// OpenID Connect Core 1.0 section 3.1.3.6; the vectors are those of its appendix
// A.3 and of Ping Identity's documentation, and for the longer hashes computed
// with other software.
func TestLeftHalfHash(t *testing.T) {
	const token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
	for _, test := range []struct{ alg, token, want string }{
		{"RS256", token, "77QmUPtjPfzWtF2AnpK9RQ"},
		{"ES256", token, "77QmUPtjPfzWtF2AnpK9RQ"},
		{"PS256", token, "77QmUPtjPfzWtF2AnpK9RQ"},
		{"RS256", "dNZX1hEZ9wBCzNL40Upu646bdzQA", "wfgvmE9VxjAudsl9lc6TqA"},
		{"ES384", token, "jtAeDp945y1dDqU3nkIVGNZP1HjH_MFs"},
		{"RS512", token, "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM"},
		{"EdDSA", token, "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM"},
	} {
		if got := oauth.LeftHalfHash(test.alg, test.token); got != test.want {
			t.Errorf("%s of %s: %q, want %q", test.alg, test.token, got, test.want)
		}
	}
}

// A client's word goes before the server's.
func TestPerClientSettings(t *testing.T) {
	p := policy()
	if got := oauth.IDTokenLifetime(p, storage.Client{}); got != 10*time.Minute {
		t.Errorf("server's lifetime: %v", got)
	}
	if got := oauth.IDTokenLifetime(p, storage.Client{IDTokenLifetime: time.Minute}); got != time.Minute {
		t.Errorf("client's lifetime: %v", got)
	}
	if got := oauth.SigningAlg(p, storage.Client{}); got != "RS256" {
		t.Errorf("server's algorithm: %v", got)
	}
	if got := oauth.SigningAlg(p, storage.Client{IDTokenSigningAlg: "ES256"}); got != "ES256" {
		t.Errorf("client's algorithm: %v", got)
	}
}

// A key verifies until the last token that it signed has ended, whichever that is.
func TestLongestToken(t *testing.T) {
	for _, test := range []struct {
		id, access, client, want time.Duration
	}{
		{time.Hour, time.Minute, 0, time.Hour},
		{time.Minute, time.Hour, 0, time.Hour},
		{time.Hour, time.Hour, 24 * time.Hour, 24 * time.Hour},
		{time.Hour, time.Hour, time.Minute, time.Hour},
		{time.Minute, time.Minute, time.Minute, oauth.LogoutTokenLifetime},
	} {
		p := oauth.Policy{IDTokenLifetime: test.id, AccessTokenLifetime: test.access}
		if got := oauth.LongestToken(p, []storage.Client{{IDTokenLifetime: test.client}, {}}); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}
