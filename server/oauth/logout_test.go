package oauth_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

const bye = "https://app.example.com/bye"

// leaving is webClient with addresses for after signing out.
func leaving() storage.Client {
	c := webClient()
	c.PostLogoutRedirectURIs = []string{bye, bye + "?a=b", "com.example.app:/bye"}
	return c
}

func TestParseLogoutHint(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		want    *oauth.LogoutHint
	}{
		"one audience":      {`{"iss":"ISS","sub":"s","aud":"web","sid":"i","exp":1}`, &oauth.LogoutHint{ClientID: "web", Subject: "s", SID: "i"}},
		"in a list":         {`{"iss":"ISS","sub":"s","aud":["web"],"sid":"i"}`, &oauth.LogoutHint{ClientID: "web", Subject: "s", SID: "i"}},
		"authorized party":  {`{"iss":"ISS","sub":"s","aud":["api","web"],"azp":"web","sid":"i"}`, &oauth.LogoutHint{ClientID: "web", Subject: "s", SID: "i"}},
		"no sid":            {`{"iss":"ISS","sub":"s","aud":"web"}`, &oauth.LogoutHint{ClientID: "web", Subject: "s"}},
		"another issuer":    {`{"iss":"ISS/","sub":"s","aud":"web","sid":"i"}`, nil},
		"no issuer":         {`{"sub":"s","aud":"web","sid":"i"}`, nil},
		"no subject":        {`{"iss":"ISS","aud":"web","sid":"i"}`, nil},
		"no audience":       {`{"iss":"ISS","sub":"s","sid":"i"}`, nil},
		"nobody's":          {`{"iss":"ISS","sub":"s","aud":["api","web"],"sid":"i"}`, nil},
		"an empty audience": {`{"iss":"ISS","sub":"s","aud":[],"sid":"i"}`, nil},
		"numbers":           {`{"iss":"ISS","sub":1,"aud":2,"sid":3}`, nil},
		"no JSON":           {`x`, nil},
		"nothing":           {``, nil},
	} {
		got := oauth.ParseLogoutHint(policy(), []byte(strings.ReplaceAll(c.payload, "ISS", issuer)))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// OpenID Connect RP-Initiated Logout 1.0 section 2.
func TestParseLogout(t *testing.T) {
	client, hint := leaving(), &oauth.LogoutHint{ClientID: "web", Subject: "s", SID: "i"}
	for name, c := range map[string]struct {
		form    string
		lookups oauth.LogoutLookups
		want    oauth.LogoutRequest
		refused oauth.Code
		to      string
	}{
		"nothing": {"", oauth.LogoutLookups{}, oauth.LogoutRequest{}, "", ""},
		"everything": {"id_token_hint=x&client_id=web&post_logout_redirect_uri=" + url.QueryEscape(bye) + "&state=a+b%26&logout_hint=ann&ui_locales=de+en&more=x",
			oauth.LogoutLookups{Hint: hint, Client: &client},
			oauth.LogoutRequest{ClientID: "web", RedirectURI: bye, State: "a b&", HintSubject: "s", HintSID: "i", UILocales: []string{"de", "en"}}, "", bye + "?state=a+b%26"},
		"the hint says who asks": {"id_token_hint=x&post_logout_redirect_uri=" + url.QueryEscape(bye+"?a=b") + "&state=s",
			oauth.LogoutLookups{Hint: hint, Client: &client},
			oauth.LogoutRequest{ClientID: "web", RedirectURI: bye + "?a=b", State: "s", HintSubject: "s", HintSID: "i"}, "", bye + "?a=b&state=s"},
		"no state": {"client_id=web&post_logout_redirect_uri=com.example.app:/bye", oauth.LogoutLookups{Client: &client},
			oauth.LogoutRequest{ClientID: "web", RedirectURI: "com.example.app:/bye"}, "", "com.example.app:/bye"},
		"a state that leads nowhere": {"client_id=web&state=s", oauth.LogoutLookups{Client: &client}, oauth.LogoutRequest{ClientID: "web"}, "", ""},
		"an empty value is none":     {"id_token_hint=&client_id=&post_logout_redirect_uri=&state=", oauth.LogoutLookups{}, oauth.LogoutRequest{}, "", ""},
		"the hint's client is gone":  {"id_token_hint=x", oauth.LogoutLookups{Hint: hint}, oauth.LogoutRequest{HintSubject: "s", HintSID: "i"}, "", ""},

		"a hint that is not right":     {"id_token_hint=x", oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"the hint is another client's": {"id_token_hint=x&client_id=other", oauth.LogoutLookups{Hint: hint, Client: &storage.Client{ID: "other"}}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"an unknown client":            {"client_id=nobody", oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidClient, ""},
		"an address of nobody":         {"post_logout_redirect_uri=" + url.QueryEscape(bye), oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"an address of a client gone":  {"id_token_hint=x&post_logout_redirect_uri=" + url.QueryEscape(bye), oauth.LogoutLookups{Hint: hint}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"an address not registered":    {"client_id=web&post_logout_redirect_uri=https://app.example.com/", oauth.LogoutLookups{Client: &client}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"an address for signing in":    {"client_id=web&post_logout_redirect_uri=https://app.example.com/cb", oauth.LogoutLookups{Client: &client}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"an address with a query more": {"client_id=web&post_logout_redirect_uri=" + url.QueryEscape(bye+"?b"), oauth.LogoutLookups{Client: &client}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"twice the same":               {"state=s&state=s", oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"not text":                     {"state=%ff", oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"NUL":                          {"logout_hint=a%00", oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
		"a state without end":          {"state=" + strings.Repeat("s", 2049), oauth.LogoutLookups{}, oauth.LogoutRequest{}, oauth.InvalidRequest, ""},
	} {
		form, err := url.ParseQuery(c.form)
		if err != nil {
			t.Fatal(err)
		}
		got, err := oauth.ParseLogout(form, c.lookups)
		if (err != nil) != (c.refused != "") || err != nil && oauth.CodeOf(err) != c.refused {
			t.Errorf("%s: %v, want %q", name, err, c.refused)
			continue
		}
		if err != nil {
			describe(t, err)
			if diff := cmp.Diff(oauth.LogoutRequest{}, got); diff != "" {
				t.Errorf("%s: refused with %s", name, diff)
			}
			continue
		}
		if len(got.UILocales) == 0 {
			got.UILocales = nil
		}
		if diff := cmp.Diff(c.want, got); diff != "" || got.Location() != c.to {
			t.Errorf("%s: to %q, %s", name, got.Location(), diff)
		}
	}
	// Loopback ports are no exception here.
	native := storage.Client{Public: true, PostLogoutRedirectURIs: []string{"http://127.0.0.1/bye"}}
	if oauth.MatchPostLogoutRedirectURI(native, "http://127.0.0.1:7/bye") || oauth.MatchPostLogoutRedirectURI(storage.Client{Public: true}, "http://127.0.0.1:7/") {
		t.Error("a loopback port is taken")
	}
}

func TestNextLogout(t *testing.T) {
	s := &storage.Session{SID: "i", ConnectorID: "c", UserID: "u"}
	sub := oauth.Subject("u", "c")
	for name, c := range map[string]struct {
		request   oauth.LogoutRequest
		session   *storage.Session
		confirmed string
		want      oauth.LogoutStep
	}{
		"nobody":                         {oauth.LogoutRequest{HintSubject: sub, HintSID: "i"}, nil, "i", oauth.LogoutDone},
		"nobody vouches":                 {oauth.LogoutRequest{ClientID: "web"}, s, "", oauth.LogoutConfirm},
		"the hint vouches":               {oauth.LogoutRequest{HintSubject: sub, HintSID: "i"}, s, "", oauth.LogoutEnd},
		"of another session":             {oauth.LogoutRequest{HintSubject: sub, HintSID: "j"}, s, "", oauth.LogoutConfirm},
		"of another person":              {oauth.LogoutRequest{HintSubject: "x", HintSID: "i"}, s, "", oauth.LogoutConfirm},
		"of no session":                  {oauth.LogoutRequest{HintSubject: sub}, s, "", oauth.LogoutConfirm},
		"the person says so":             {oauth.LogoutRequest{}, s, "i", oauth.LogoutEnd},
		"of another session, the person": {oauth.LogoutRequest{}, s, "j", oauth.LogoutConfirm},
		"a session without a name":       {oauth.LogoutRequest{HintSubject: sub}, &storage.Session{ConnectorID: "c", UserID: "u"}, "", oauth.LogoutConfirm},
	} {
		if got := oauth.NextLogout(c.request, c.session, c.confirmed); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Back-Channel Logout 1.0 section 2.4.
func TestLogoutToken(t *testing.T) {
	now := time.Unix(1772000000, 999)
	raw, err := json.Marshal(oauth.NewLogoutToken(policy(), storage.LogoutDelivery{SID: "i", ClientID: "web", ConnectorID: "c", UserID: "u"}, [16]byte{15: 1}, now))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iss":"` + issuer + `","sub":"` + oauth.Subject("u", "c") + `","aud":"web","iat":1772000000,"exp":1772000120,` +
		`"jti":"00000000000000000000000000000001","sid":"i","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff)
	}
}

// Whatever is sent: a request that is accepted leads to a registered address or
// nowhere, and one that vouches has the hint that was verified.
func FuzzParseLogout(f *testing.F) {
	fuzz.Widely(f)
	f.Add("id_token_hint=x&client_id=web&post_logout_redirect_uri="+url.QueryEscape(bye)+"&state=s&ui_locales=de", true, true)
	f.Add("post_logout_redirect_uri=https://app.example.com%5c@evil.example/bye", true, false)
	f.Add("client_id=web&client_id=web", false, false)
	f.Add("state=%00&logout_hint=%ff", false, true)
	f.Fuzz(func(t *testing.T, query string, known, hinted bool) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		client, l := leaving(), oauth.LogoutLookups{}
		if hinted {
			l.Hint = &oauth.LogoutHint{ClientID: "web", Subject: "s", SID: "i"}
		}
		if id := oauth.LogoutClientID(form, l.Hint); known && id == "web" {
			l.Client = &client
		}
		r, err := oauth.ParseLogout(form, l)
		if err != nil {
			if describe(t, err); r.Location() != "" {
				t.Errorf("refused, and leads to %q", r.Location())
			}
			return
		}
		base, _, _ := strings.Cut(r.Location(), "state=")
		switch strings.TrimRight(base, "?&") {
		case "", bye, bye + "?a=b", "com.example.app:/bye":
		default:
			t.Errorf("%q leads to %q", query, r.Location())
		}
		if r.RedirectURI != "" && (l.Client == nil || r.ClientID != "web") || !hinted && r.HintSID != "" {
			t.Errorf("%q: %+v", query, r)
		}
		if len(r.State) > 2048 || len(r.RedirectURI) > 2048 {
			t.Errorf("%q carries %d bytes of state", query, len(r.State))
		}
	})
}
