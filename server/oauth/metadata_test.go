package oauth_test

import (
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMetadataGolden(t *testing.T) {
	got, err := json.MarshalIndent(oauth.NewMetadata(policy(), []string{"en", "de"}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/metadata.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// OpenID Connect Discovery 1.0 section 3 and RFC 8414 section 2: what is listed
// is accepted, and what is not, is not.
func TestMetadataSaysWhatIsTrue(t *testing.T) {
	client := webClient()
	accepts := func(p oauth.Policy, change url.Values) bool {
		_, err := oauth.Authorize(valid(change), oauth.Lookups{Client: &client}, p)
		return err == nil
	}
	for _, plain := range []bool{false, true} {
		p := policy()
		p.PKCEPlain = plain
		m := oauth.NewMetadata(p, nil)
		for _, check := range []struct {
			name    string
			listed  []string
			all     []string
			request func(string) url.Values
		}{
			{"response_types_supported", m.ResponseTypesSupported,
				[]string{"code", "token", "id_token", "code id_token", "code token", "id_token token", "none"},
				func(v string) url.Values { return url.Values{"response_type": {v}} }},
			{"response_modes_supported", m.ResponseModesSupported,
				[]string{"query", "form_post", "fragment", "jwt", "query.jwt", "web_message"},
				func(v string) url.Values { return url.Values{"response_mode": {v}} }},
			{"code_challenge_methods_supported", m.CodeChallengeMethodsSupported,
				[]string{"S256", "plain", "S512"},
				func(v string) url.Values {
					return url.Values{"code_challenge": {challenge}, "code_challenge_method": {v}}
				}},
			{"prompt_values_supported", m.PromptValuesSupported,
				[]string{"none", "login", "consent", "select_account", "create"},
				func(v string) url.Values { return url.Values{"prompt": {v}} }},
		} {
			for _, v := range check.all {
				if got := accepts(p, check.request(v)); got != slices.Contains(check.listed, v) {
					t.Errorf("%s, plain allowed %v: %q is accepted: %v", check.name, plain, v, got)
				}
			}
			for _, v := range check.listed {
				if !slices.Contains(check.all, v) {
					t.Errorf("%s lists %q, which is not tried here", check.name, v)
				}
			}
		}
		for _, v := range m.GrantTypesSupported {
			if _, err := oauth.TokenGrantType(url.Values{"grant_type": {v}}); err != nil {
				t.Errorf("grant_types_supported: %q: %v", v, err)
			}
		}
		for _, v := range m.ScopesSupported {
			r, err := oauth.Authorize(valid(url.Values{"scope": {"openid " + v}}), oauth.Lookups{Client: &client}, p)
			if err != nil || !slices.Contains(r.Scopes, v) {
				t.Errorf("scopes_supported: %q: %v, %v", v, r.Scopes, err)
			}
		}
		// OpenID Connect Core 1.0 section 11: offline_access is there for refresh tokens.
		if slices.Contains(m.ScopesSupported, "offline_access") != slices.Contains(m.GrantTypesSupported, "refresh_token") {
			t.Error("offline_access and refresh_token are not offered together")
		}
		for param, listed := range map[string]bool{"request": m.RequestParameterSupported, "request_uri": m.RequestURIParameterSupported} {
			if listed || accepts(p, url.Values{param: {"x"}}) {
				t.Errorf("%s is supported", param)
			}
		}
		if !m.AuthorizationResponseIssParamSupported || (oauth.ResponseTarget{}).Response(p.Issuer, "c").Get("iss") != m.Issuer {
			t.Error("RFC 9207 section 3: iss")
		}
	}
}

// Every claim that tokens and userinfo can hold is listed, and no other.
func TestClaimsSupported(t *testing.T) {
	g := grant()
	g.Scopes = []string{"openid", "email", "profile", "groups", "federated:id", "audience:server:client_id:k8s"}
	var got []string
	for claim := range marshal(t, oauth.NewIDToken(policy(), webClient(), g, jane(), "RS256", "x", now)) {
		got = append(got, claim)
	}
	want := oauth.NewMetadata(policy(), nil).ClaimsSupported
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-listed +issued):\n%s", diff)
	}
}

func TestSigningAlgsOfMetadata(t *testing.T) {
	p := policy()
	p.SigningAlgs = []string{"ES256", "RS256", "ES256"}
	m := oauth.NewMetadata(p, nil)
	if diff := cmp.Diff([]string{"ES256", "RS256"}, m.IDTokenSigningAlgValuesSupported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What a reader does to one document is not in the next.
	for _, list := range [][]string{m.ScopesSupported, m.TokenEndpointAuthMethodsSupported, m.PromptValuesSupported} {
		list[0] = "changed"
	}
	again := oauth.NewMetadata(p, nil)
	if again.ScopesSupported[0] == "changed" || again.TokenEndpointAuthMethodsSupported[0] == "changed" || again.PromptValuesSupported[0] == "changed" {
		t.Error("documents share their lists")
	}
}
