package oauth_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

func TestScope(t *testing.T) {
	client := webClient()
	const aud = "audience:server:client_id:"
	for _, test := range []struct {
		name, scope string
		want        []string
		code        oauth.Code
	}{
		{"openid", "openid", []string{"openid"}, ""},
		{"all that there are", "openid profile email groups offline_access federated:id",
			[]string{"openid", "profile", "email", "groups", "offline_access", "federated:id"}, ""},
		{"order is kept", "email openid", []string{"email", "openid"}, ""},
		{"each once", "openid email openid email", []string{"openid", "email"}, ""},
		{"more spaces", "  openid   email ", []string{"openid", "email"}, ""},
		{"itself as an audience", "openid " + aud + "web", []string{"openid", aud + "web"}, ""},
		// OpenID Connect Core 1.0 section 3.1.2.1: "Scope values used that are not
		// understood by an implementation SHOULD be ignored."
		{"unknown ones", "openid address phone https://example.com/x", []string{"openid"}, ""},
		{"an audience without a name", "openid " + aud, []string{"openid"}, ""},
		{"names are case-sensitive", "openid EMAIL " + strings.ToUpper(aud) + "x", []string{"openid"}, ""},
		// Section 3.1.2.1: "must contain the openid scope value".
		{"none", "", nil, oauth.InvalidScope},
		{"spaces only", "   ", nil, oauth.InvalidScope},
		{"without openid", "profile email", nil, oauth.InvalidScope},
		{"OPENID", "OPENID", nil, oauth.InvalidScope},
		{"with comma", "openid,email", nil, oauth.InvalidScope},
		// RFC 6749 section 3.3: 1*( %x21 / %x23-5B / %x5D-7E ), delimited by %x20.
		{"tab", "openid\temail", nil, oauth.InvalidScope},
		{"line break", "openid\nemail", nil, oauth.InvalidScope},
		{"no-break space", "openid\u00a0email", nil, oauth.InvalidScope},
		{"wide space", "openid\u3000email", nil, oauth.InvalidScope},
		{"quote", "openid a\"b", nil, oauth.InvalidScope},
		{"backslash", "openid a\\b", nil, oauth.InvalidScope},
		{"high byte", "openid é", nil, oauth.InvalidScope},
		{"delete", "openid \x7f", nil, oauth.InvalidScope},
	} {
		r, err := oauth.Authorize(valid(url.Values{"scope": {test.scope}}), oauth.Lookups{Client: &client}, policy())
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
			continue
		}
		if err != nil {
			if target(t, err) == nil {
				t.Errorf("%s: the refusal does not reach the client", test.name)
			}
			describe(t, err)
		} else if diff := cmp.Diff(test.want, r.Scopes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// A client may ask for the audiences that list it in trustedPeers, and no others.
func TestAudience(t *testing.T) {
	const aud = "audience:server:client_id:"
	peers := map[string]storage.Client{
		"trusting":   {ID: "trusting", TrustedPeers: []string{"other", "web"}},
		"suspicious": {ID: "suspicious", TrustedPeers: []string{"other", "WEB", "we", "web2", "*"}},
		"closed":     {ID: "closed"},
	}
	client := webClient()
	// Trust is what the audience gives; what this client gives does not matter.
	client.TrustedPeers = []string{"closed", "suspicious"}
	for _, test := range []struct {
		name  string
		asked []string
		ok    bool
	}{
		{"one that trusts", []string{"trusting"}, true},
		{"itself", []string{"web"}, true},
		{"itself and one that trusts", []string{"web", "trusting"}, true},
		{"one that trusts others", []string{"suspicious"}, false},
		{"one that trusts nobody", []string{"closed"}, false},
		{"one that does not exist", []string{"missing"}, false},
		{"one of two", []string{"trusting", "closed"}, false},
		{"another case", []string{"Trusting"}, false},
		{"hostile", []string{"x'--<script>"}, false},
	} {
		scope := "openid"
		for _, id := range test.asked {
			scope += " " + aud + id
		}
		_, err := oauth.Authorize(valid(url.Values{"scope": {scope}}), oauth.Lookups{Client: &client, Peers: peers}, policy())
		if test.ok != (err == nil) || !test.ok && codeOf(err) != oauth.InvalidScope {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil {
			describe(t, err)
		}
	}
	// Unknown and unwilling audiences get the same words: no oracle.
	refusal := func(id string, peers map[string]storage.Client) string {
		_, err := oauth.Authorize(valid(url.Values{"scope": {"openid " + aud + id}}), oauth.Lookups{Client: &client, Peers: peers}, policy())
		return describe(t, err)
	}
	if known, unknown := refusal("closed", peers), refusal("closed", nil); known != unknown {
		t.Errorf("%q tells from %q whether the client exists", known, unknown)
	}
}

// One request causes a bounded number of lookups, and none for what no database
// holds.
func TestAudiencesOf(t *testing.T) {
	const aud = "audience:server:client_id:"
	many := "openid"
	for i := range 17 {
		many += fmt.Sprintf(" %s%d", aud, i)
	}
	for _, test := range []struct {
		name string
		form url.Values
		want []string
	}{
		{"none", url.Values{"scope": {"openid email"}}, nil},
		{"in order, each once", url.Values{"scope": {"openid " + aud + "b " + aud + "a " + aud + "b"}}, []string{"b", "a"}},
		{"no scope", url.Values{}, nil},
		{"two scopes", url.Values{"scope": {"openid " + aud + "a", "openid " + aud + "b"}}, nil},
		{"without openid", url.Values{"scope": {aud + "a"}}, nil},
		{"not text", url.Values{"scope": {"openid " + aud + "\xff"}}, nil},
		{"NUL", url.Values{"scope": {"openid " + aud + "a\x00"}}, nil},
		{"too many", url.Values{"scope": {many}}, nil},
	} {
		if diff := cmp.Diff(test.want, oauth.AudiencesOf(test.form)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	client := webClient()
	if _, err := oauth.Authorize(valid(url.Values{"scope": {many}}), oauth.Lookups{Client: &client}, policy()); codeOf(err) != oauth.InvalidScope {
		t.Errorf("too many audiences: %v, want invalid_scope", err)
	}
}
