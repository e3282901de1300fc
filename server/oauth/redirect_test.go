package oauth_test

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// corpus are attacks on, and uses of, one registration.
type corpus struct {
	name       string
	public     bool
	registered []string
	good       []string
	bad        []string
}

var corpora = []corpus{
	{
		// RFC 9700 section 2.1, RFC 3986 section 6.2.1: exact strings.
		name:       "a website",
		registered: []string{"https://app.example.com/cb"},
		good:       []string{"https://app.example.com/cb"},
		bad: []string{
			"",
			// Scheme.
			"http://app.example.com/cb", "HTTPS://app.example.com/cb", "https:app.example.com/cb", "https:/app.example.com/cb",
			"https:///app.example.com/cb", "//app.example.com/cb", "app.example.com/cb", "/cb", "cb", "ftp://app.example.com/cb",
			"javascript:alert(1)//https://app.example.com/cb", "data:text/html,https://app.example.com/cb",
			"javascript://app.example.com/cb%0aalert(1)", "view-source:https://app.example.com/cb",
			// Userinfo (pocket-id CVE-2026-28512).
			"https://app.example.com@evil.example/cb", "https://app.example.com:443@evil.example/cb",
			"https://evil.example@app.example.com/cb", "https://user:pw@app.example.com/cb", "https://@app.example.com/cb",
			"https://app.example.com%40evil.example/cb", "https://app.example.com\\@evil.example/cb",
			"https://evil.example\\@app.example.com/cb", "https://app.example.com#@evil.example/cb",
			"https://app.example.com?@evil.example/cb", "https://evil.example#@app.example.com/cb",
			// Host: case (fosite CVE-2020-15233), dots (authentik CVE-2024-52289), suffixes, prefixes, encodings.
			"https://APP.example.com/cb", "https://app.Example.com/cb", "https://app.example.com./cb", "https://appXexample.com/cb",
			"https://app-example.com/cb", "https://app.example.com.evil.example/cb", "https://evil.example/app.example.com/cb",
			"https://evilapp.example.com/cb", "https://sub.app.example.com/cb", "https://example.com/cb", "https://app..example.com/cb",
			"https://app%2eexample.com/cb", "https://app.example.com%2e/cb", "https://app.example.com%00.evil.example/cb",
			"https://app.example.com\x00.evil.example/cb", "https://app.example.com%0a.evil.example/cb",
			"https://app。example.com/cb", "https://app．example.com/cb", "https://app｡example.com/cb", "https://ａpp.example.com/cb",
			"https://аpp.example.com/cb", "https://app.example.com／cb", "https://app.example.com﹫evil.example/cb",
			"https://app.example.com：443/cb", "https://app.example.com\u200b/cb", "https://xn--pp-7kc.example.com/cb",
			"https://*.example.com/cb", "https://app.example.com\u2025/cb",
			// Port.
			"https://app.example.com:443/cb", "https://app.example.com:/cb", "https://app.example.com:8443/cb", "https://app.example.com:0443/cb",
			// Path: case, slashes, dots, encodings, suffixes.
			"https://app.example.com/CB", "https://app.example.com/cb/", "https://app.example.com//cb", "https://app.example.com/./cb",
			"https://app.example.com/cb/.", "https://app.example.com/cb/..", "https://app.example.com/cb/../evil", "https://app.example.com/x/../cb",
			"https://app.example.com/cb/..%2fevil", "https://app.example.com/cb%2f..%2fevil", "https://app.example.com/cb%2F", "https://app.example.com%2fcb",
			"https://app.example.com/%63b", "https://app.example.com/cb%252f", "https://app.example.com\\cb", "https://app.example.com/\\cb",
			"https://app.example.com/cb\\..\\evil", "https://app.example.com/cbx", "https://app.example.com/c", "https://app.example.com/", "https://app.example.com",
			"https://app.example.com/cb;x=y", "https://app.example.com/cb%00", "https://app.example.com/cb\x00", "https://app.example.com/cb/evil",
			// Query and fragment (RFC 6749 section 3.1.2).
			"https://app.example.com/cb?", "https://app.example.com/cb?x=y", "https://app.example.com/cb&x=y", "https://app.example.com/cb#", "https://app.example.com/cb#x",
			"https://app.example.com/cb?code=stolen", "https://app.example.com/cb%3f", "https://app.example.com/cb%23",
			// White space and control characters, which browsers drop.
			" https://app.example.com/cb", "https://app.example.com/cb ", "\thttps://app.example.com/cb", "https://app.example.com/cb\n",
			"https://app.example.com/cb\r\nLocation: https://evil.example", "ht\ttps://app.example.com/cb", "https://app.exam\nple.com/cb",
			"https://app.example.com\t/cb", "https://app.example.com/c\tb", "https://app.example.com/cb%20", "https://app.example.com/cb+", "\ufeffhttps://app.example.com/cb",
			"https://app.example.com/cb https://evil.example/", "https://app.example.com/cb,https://evil.example/",
		},
	},
	{
		name:       "a website with a query",
		registered: []string{"https://app.example.com/cb?tenant=a&x="},
		good:       []string{"https://app.example.com/cb?tenant=a&x="},
		bad: []string{
			"https://app.example.com/cb", "https://app.example.com/cb?tenant=a", "https://app.example.com/cb?x=&tenant=a", "https://app.example.com/cb?tenant=b&x=",
			"https://app.example.com/cb?tenant=a&x", "https://app.example.com/cb?tenant=a&x=&y=", "https://app.example.com/cb?tenant=%61&x=", "https://app.example.com/cb?tenant=a&amp;x=",
			"https://app.example.com/cb?tenant=a;x=", "https://app.example.com/cb?TENANT=a&x=",
		},
	},
	{
		// RFC 6749 section 3.1.2: no fragment, whatever was registered.
		name:       "a fragment that was registered",
		registered: []string{"https://app.example.com/#cb", "https://app.example.com/cb#"},
		bad:        []string{"https://app.example.com/#cb", "https://app.example.com/cb#", "https://app.example.com/", "https://app.example.com/cb"},
	},
	{
		// RFC 8252 sections 7.3 and 8.3.
		name:       "a native app",
		public:     true,
		registered: []string{"http://127.0.0.1/cb", "http://[::1]:9/cb?v=6", "http://localhost:8000/", "http://127.0.0.1:5000"},
		good: []string{
			"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:8000/cb", "http://127.0.0.1:65535/cb", "http://127.0.0.1:80/cb",
			"http://[::1]:9/cb?v=6", "http://[::1]/cb?v=6", "http://[::1]:51004/cb?v=6",
			"http://localhost:8000/", "http://localhost/", "http://localhost:1234/", "http://127.0.0.1:5001", "http://127.0.0.1",
		},
		bad: []string{
			// The address must be the registered one, as it was written (fosite GHSA-rfq3-w54c-f9q5).
			"http://[::1]/cb", "http://localhost/cb", "http://127.0.0.1/cb?v=6", "http://127.0.0.1/", "http://localhost", "http://[::1]",
			"http://127.0.0.2/cb", "http://127.1/cb", "http://127.0.1/cb", "http://127.0.0.01/cb", "http://0127.0.0.1/cb", "http://127.0.0.1.0/cb",
			"http://0x7f.0.0.1/cb", "http://0x7f.1/cb", "http://0x7f000001/cb", "http://2130706433/cb", "http://017700000001/cb", "http://0177.0.0.1/cb",
			"http://0.0.0.0/cb", "http://0/cb", "http://10.0.0.1/cb", "http://127.0.0.1./cb", "http://127.0.0.1.evil.example/cb", "http://127.0.0.1evil/cb",
			"http://evil.example/127.0.0.1/cb", "http://evil127.0.0.1/cb", "http://127.0.0.1.nip.io/cb", "http://127-0-0-1.example/cb",
			"http://[::ffff:127.0.0.1]:9/cb?v=6", "http://[::ffff:7f00:1]/cb?v=6", "http://[0:0:0:0:0:0:0:1]/cb?v=6", "http://[::0001]/cb?v=6", "http://[::1%25lo]/cb?v=6",
			"http://[::1%lo0]:9/cb?v=6", "http://[::1]evil/cb?v=6", "http://[::1].evil.example/cb?v=6", "http://[::1/cb?v=6", "http://::1/cb?v=6", "http://::1:9/cb?v=6", "http://[::]/cb?v=6",
			"http://[::1]]/cb?v=6", "http://[[::1]]/cb?v=6", "http://[::1]@evil.example/cb?v=6", "http://[::1]:9@evil.example/cb?v=6",
			"http://LOCALHOST:8000/", "http://Localhost/", "http://localhost./", "http://localhost.evil.example/", "http://localhost.localdomain/", "http://localhostevil/", "http://local%68ost/",
			"http://ⓛocalhost/", "http://127。0。0。1/cb", "http://１２７.0.0.1/cb", "http://127.0.0.1％2fcb", "http://127%2e0.0.1/cb", "http://127.0.0.1\u200d/cb",
			// Port tricks.
			"http://127.0.0.1:/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:99999/cb", "http://127.0.0.1:080808080/cb", "http://127.0.0.1:-1/cb",
			"http://127.0.0.1:+80/cb", "http://127.0.0.1:8x/cb", "http://127.0.0.1:80:80/cb", "http://127.0.0.1::80/cb", "http://127.0.0.1:80.evil.example/cb", "http://127.0.0.1:８０/cb",
			"http://127.0.0.1:0x50/cb", "http://127.0.0.1: 80/cb", "http://127.0.0.1:80 /cb", "http://127.0.0.1:80%2fcb", "http://127.0.0.1:8_0/cb", "http://127.0.0.1%3a80/cb",
			// The authority must end there.
			"http://127.0.0.1@evil.example/cb", "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1:@evil.example/cb", "http://user@127.0.0.1/cb", "http://127.0.0.1\\@evil.example/cb",
			"http://127.0.0.1\\.evil.example/cb", "http://127.0.0.1:80\\@evil.example/cb", "http://127.0.0.1;evil.example/cb", "http://127.0.0.1,evil.example/cb", "http://127.0.0.1%40evil.example/cb",
			"http://127.0.0.1%2f@evil.example/cb", "http://127.0.0.1\t.evil.example/cb", "http://127.0.0.1\n/cb", "http://127.0.0.1#@evil.example/cb", "http://127.0.0.1:80#/cb", "http://127.0.0.1&/cb",
			// The same path is required.
			"http://127.0.0.1:80/CB", "http://127.0.0.1:80/cb/", "http://127.0.0.1:80//cb", "http://127.0.0.1:80/./cb", "http://127.0.0.1:80/x/../cb", "http://127.0.0.1:80/%63b", "http://127.0.0.1:80/cb?", "http://127.0.0.1:80/cb?x",
			"http://127.0.0.1:80/cb#", "http://127.0.0.1:80/cb\\", "http://127.0.0.1:80/cb%00", "http://127.0.0.1:80/cb\r\n", "http://127.0.0.1:80/cb ", "http://127.0.0.1:80\\cb", "http://127.0.0.1:5001/", "http://127.0.0.1:5001?x",
			// The scheme too.
			"https://127.0.0.1:80/cb", "HTTP://127.0.0.1:80/cb", "http:127.0.0.1:80/cb", "http:/127.0.0.1:80/cb", "http:///127.0.0.1:80/cb", "//127.0.0.1:80/cb", "http:\\\\127.0.0.1:80/cb", "ws://127.0.0.1:80/cb", " http://127.0.0.1:80/cb",
			"javascript://127.0.0.1:80/cb",
		},
	},
	{
		// RFC 8252 section 8.3: localhost is a name. A confidential client has no
		// reason to follow it around.
		name:       "a confidential client on loopback",
		registered: []string{"http://localhost:8000/cb", "http://127.0.0.1:8000/cb", "http://[::1]/cb"},
		good:       []string{"http://localhost:8000/cb", "http://127.0.0.1:8000/cb", "http://127.0.0.1:9/cb", "http://[::1]:7/cb"},
		bad:        []string{"http://localhost:8001/cb", "http://localhost/cb", "https://localhost:8000/cb", "http://localhost:08000/cb"},
	},
	{
		// The port is free for http loopback only.
		name:       "other schemes on loopback",
		public:     true,
		registered: []string{"https://127.0.0.1:8443/cb", "com.example.app://127.0.0.1/cb"},
		good:       []string{"https://127.0.0.1:8443/cb", "com.example.app://127.0.0.1/cb"},
		bad:        []string{"https://127.0.0.1:8444/cb", "http://127.0.0.1:8443/cb", "com.example.app://127.0.0.1:80/cb"},
	},
	{
		// RFC 8252 section 7.1.
		name:       "a private-use scheme",
		public:     true,
		registered: []string{"com.example.app:/cb"},
		good:       []string{"com.example.app:/cb"},
		bad: []string{
			"com.example.app://cb", "com.example.app:///cb", "com.example.app:cb", "COM.example.app:/cb", "com.example.app:/cb/", "com.example.app:/cb?x", "com.example.app2:/cb", "com.example:/cb",
			"com.example.app:/CB", "com.example.app:/cb#", "com-example-app:/cb",
			// A list that is not empty is all there is.
			"http://127.0.0.1:80/cb", "http://localhost:80/", "http://[::1]:80/cb",
		},
	},
	{
		// Nothing registered: any path on loopback, and nothing else.
		name:   "a public client without redirect URIs",
		public: true,
		good: []string{
			"http://127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/any/path", "http://[::1]:8000/cb", "http://localhost:8000/cb", "http://localhost",
			"http://127.0.0.1:8000/a%20b/@~!$&'()*+,;=:", "http://127.0.0.1:8000//x/../y",
		},
		bad: []string{
			"", "https://127.0.0.1:8000/", "http://example.com/", "http://127.0.0.1.example.com/", "http://127.0.0.1@evil.example/", "http://127.0.0.1:1@evil.example/", "http://127.0.0.1\\@evil.example/", "http://127.0.0.2/",
			"http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://[::1%25lo]/", "http://0.0.0.0/", "http://LOCALHOST/", "http://localhost.evil.example/", "http://localhost./",
			"http://127.0.0.1/#", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "com.example.app:/cb", "urn:ietf:wg:oauth:2.0:oob", "javascript:alert(1)", "about:blank",
			// What is not a path of RFC 3986.
			"http://127.0.0.1/%", "http://127.0.0.1/%zz", "http://127.0.0.1/%2", "http://127.0.0.1/a b", "http://127.0.0.1/a\\b", "http://127.0.0.1/\"><script>", "http://127.0.0.1/\r\nX: y", "http://127.0.0.1/\x7f", "http://127.0.0.1/é", "http://127.0.0.1/[", "http://127.0.0.1/^", "http://127.0.0.1/`", "http://127.0.0.1/{x}", "http://127.0.0.1/|",
			// A query could hold a second code, state or iss.
			"http://127.0.0.1/?", "http://127.0.0.1?code=x", "http://127.0.0.1/cb?state=x", "http://127.0.0.1/cb?iss=https://evil.example",
			"http://127.0.0.1/" + strings.Repeat("a", 2048),
		},
	},
	{
		name: "a confidential client without redirect URIs",
		bad:  []string{"", "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "https://app.example.com/"},
	},
	{
		name:       "an empty redirect URI that was registered",
		registered: []string{""},
		bad:        []string{"", "http://127.0.0.1/"},
	},
}

func TestMatchRedirectURI(t *testing.T) {
	cases := 0
	for _, c := range corpora {
		client := storage.Client{ID: "c", Public: c.public, RedirectURIs: c.registered}
		for want, uris := range map[bool][]string{true: c.good, false: c.bad} {
			for _, uri := range uris {
				cases++
				if got := oauth.MatchRedirectURI(client, uri); got != want {
					t.Errorf("%s: MatchRedirectURI(%q) = %v, want %v", c.name, uri, got, want)
				}
			}
		}
	}
	if cases < 200 {
		t.Errorf("the corpus has shrunk to %d cases", cases)
	}
}

// A request never leads to where MatchRedirectURI does not.
func TestBadRedirectURIsEndOnAPage(t *testing.T) {
	for _, c := range corpora {
		client := storage.Client{ID: "web", Public: c.public, RedirectURIs: c.registered}
		for _, uri := range c.bad {
			_, err := oauth.Authorize(valid(url.Values{"redirect_uri": {uri}}), oauth.Lookups{Client: &client}, policy())
			if codeOf(err) != oauth.InvalidRequest || target(t, err) != nil {
				t.Errorf("%s: redirect_uri %q: %v, want invalid_request on a page", c.name, uri, err)
			}
		}
	}
}

func FuzzMatchRedirectURI(f *testing.F) {
	fuzz.Widely(f)
	for _, c := range corpora {
		for _, uri := range slices.Concat(c.good, c.bad) {
			f.Add(strings.Join(c.registered, " "), uri, c.public)
		}
	}
	f.Fuzz(func(t *testing.T, registered, uri string, public bool) {
		client := storage.Client{Public: public, RedirectURIs: strings.Fields(registered)}
		if !oauth.MatchRedirectURI(client, uri) || slices.Contains(client.RedirectURIs, uri) {
			return
		}
		got := parseLoopback(t, uri)
		if got.Hostname() == "localhost" && !public {
			t.Fatalf("a confidential client matched %q", uri)
		}
		if public && len(client.RedirectURIs) == 0 {
			if got.RawQuery != "" || got.ForceQuery {
				t.Fatalf("%q has a query that nobody registered", uri)
			}
			return
		}
		// Another port, and nothing else, of one that was registered.
		if !slices.ContainsFunc(client.RedirectURIs, func(r string) bool {
			want, err := url.Parse(r)
			return err == nil && want.Scheme == "http" && want.User == nil && want.Hostname() == got.Hostname() &&
				want.EscapedPath() == got.EscapedPath() && want.RawQuery == got.RawQuery && want.ForceQuery == got.ForceQuery
		}) {
			t.Fatalf("%q matched none of %q", uri, client.RedirectURIs)
		}
	})
}

// parseLoopback reads a URI as net/url does, and holds it to be on loopback.
func parseLoopback(t *testing.T, uri string) *url.URL {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatalf("%q matched and is no URI: %v", uri, err)
	}
	if u.Scheme != "http" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		t.Fatalf("%q matched as %+v", uri, u)
	}
	if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !a.IsLoopback() || a.Zone() != "") {
		t.Fatalf("%q matched, its host is %q", uri, u.Hostname())
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		t.Fatalf("%q matched, its port is %q", uri, u.Port())
	}
	return u
}

// RFC 6749 section 3.1.2: the query of the redirect_uri is retained when
// parameters are added.
func TestLocation(t *testing.T) {
	params := url.Values{"code": {"a+b/c="}, "iss": {issuer}, "state": {"x y"}}
	const added = "code=a%2Bb%2Fc%3D&iss=https%3A%2F%2Fid.example.com%2Fdex&state=x+y"
	for _, test := range []struct{ uri, want string }{
		{"https://app.example.com/cb", "https://app.example.com/cb?" + added},
		{"https://app.example.com/cb?", "https://app.example.com/cb?" + added},
		{"https://app.example.com/cb?tenant=a", "https://app.example.com/cb?tenant=a&" + added},
		{"https://app.example.com/cb?tenant=a&", "https://app.example.com/cb?tenant=a&" + added},
		{"https://app.example.com/cb?a=%20&b=+", "https://app.example.com/cb?a=%20&b=+&" + added},
		{"http://127.0.0.1:8000", "http://127.0.0.1:8000?" + added},
		{"com.example.app:/cb", "com.example.app:/cb?" + added},
	} {
		if got := (oauth.ResponseTarget{RedirectURI: test.uri}).Location(params); got != test.want {
			t.Errorf("Location(%q) = %q, want %q", test.uri, got, test.want)
		}
	}
}

// RFC 6749 sections 4.1.2 and 4.1.2.1, RFC 9207 section 2: iss in both.
func TestResponses(t *testing.T) {
	to := oauth.ResponseTarget{RedirectURI: "https://app.example.com/cb", State: "xyz"}
	silent := oauth.ResponseTarget{RedirectURI: "https://app.example.com/cb"}
	denied := &oauth.Error{Code: oauth.AccessDenied, Description: "the person refused"}
	for _, test := range []struct {
		name string
		got  url.Values
		want url.Values
	}{
		{"success", to.Response(issuer, "c"), url.Values{"code": {"c"}, "iss": {issuer}, "state": {"xyz"}}},
		{"success without state", silent.Response(issuer, "c"), url.Values{"code": {"c"}, "iss": {issuer}}},
		{"error", to.ErrorResponse(issuer, denied), url.Values{
			"error": {"access_denied"}, "error_description": {"the person refused"}, "iss": {issuer}, "state": {"xyz"}}},
		{"error without description", silent.ErrorResponse(issuer, &oauth.Error{Code: oauth.ServerError}),
			url.Values{"error": {"server_error"}, "iss": {issuer}}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// A hostile state comes back as it was, and as nothing but a state.
func TestStateCannotBreakOut(t *testing.T) {
	for _, state := range hostileStates {
		to := oauth.ResponseTarget{RedirectURI: "https://app.example.com/cb?tenant=a", State: state}
		location := to.Location(to.Response(issuer, "c"))
		u, err := url.Parse(location)
		if err != nil {
			t.Fatalf("state %q makes %q: %v", state, location, err)
		}
		want := url.Values{"tenant": {"a"}, "code": {"c"}, "iss": {issuer}, "state": {state}}
		if diff := cmp.Diff(want, u.Query()); diff != "" || u.Host != "app.example.com" || u.Fragment != "" {
			t.Errorf("state %q makes %q:\n%s", state, location, diff)
		}
		if strings.ContainsFunc(location, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '<' }) {
			t.Errorf("state %q puts raw characters into %q", state, location)
		}
	}
}

var hostileStates = []string{
	"&code=evil", "x&iss=https://evil.example", "#fragment", "a\r\nSet-Cookie: a=b", "\"><script>alert(1)</script>", "%26code%3Devil", "%", "%zz",
	"ü\u2028\u202e", "+ +", ";x=y", "\\", "{\"a\":[1]}", " leading", "trailing ", "\t", "=", "?", strings.Repeat("s", 1024), strings.Repeat("%", 1024), strings.Repeat("\u00e9", 512),
}
