// Package chromium_test signs people in with a real Chromium, at the program as it
// is shipped and at relying parties that verify what they get.
package chromium_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"

	"github.com/countersign/countersign/e2e/binary"
	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/e2e/leak"
)

type command[P, R any] = cdp.Command[P, R]

// The people of the tests. Both have the same password.
const (
	ada      = "ada@example.com"
	bob      = "bob@example.com"
	password = "correct horse"
)

// people are their records.
const people = `enablePasswordDB: true
staticPasswords:
- {email: ada@example.com, hash: '$argon2id$v=19$m=7168,t=1,p=1$c2FsdCBvZiB0ZXN0cyAxNg$+72JAJtmIHr0iOYRKAwSKlFJjYuM79hpOlCysoxAmqA', username: ada, name: Ada Lovelace, emailVerified: true, userID: user-ada, groups: [admins, staff]}
- {email: bob@example.com, hash: '$argon2id$v=19$m=7168,t=1,p=1$c2FsdCBvZiB0ZXN0cyAxNg$+72JAJtmIHr0iOYRKAwSKlFJjYuM79hpOlCysoxAmqA', username: bob, name: Bob Kahn, emailVerified: false, userID: user-bob}
`

// world is a provider and its relying parties. app is at another site than the
// provider, other at a third.
type world struct {
	t        *testing.T
	chromium context.Context
	issuer   string
	server   *binary.Server
	client   *http.Client // how the apps reach the provider
	app      *app
	other    *app
}

// TestMain removes the program that the tests built.
func TestMain(m *testing.M) {
	code := m.Run()
	binary.Remove()
	os.Exit(code)
}

// TestChromium is one Chromium for all that follows; everybody in it is a
// stranger to the others.
func TestChromium(t *testing.T) {
	chromium := browser.New(t)
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"look", look}, // first, because it takes longest
		{"demo", demo},
		{"directory", directory},
		{"wrongPassword", wrongPassword},
		{"consentRefused", consentRefused},
		{"remembered", remembered},
		{"singleSignOn", singleSignOn},
		{"onward", onward},
		{"signOut", signOut},
		{"promptLogin", promptLogin},
		{"selectAccount", selectAccount},
		{"twoTabs", twoTabs},
		{"leftTab", leftTab},
		{"anotherBrowser", anotherBrowser},
		{"backButton", backButton},
		{"reloadAfterSubmit", reloadAfterSubmit},
		{"doubleClick", doubleClick},
		{"formPost", formPost},
		{"keyboard", keyboard},
		{"nativeApp", nativeApp},
		{"privateScheme", privateScheme},
		{"german", german},
		{"framing", framing},
		{"loginCSRF", loginCSRF},
		{"postedRequest", postedRequest},
		{"badRequests", badRequests},
		{"cookies", cookies},
		{"https", https},
		{"gitHub", gitHub},
		{"samlUpstream", samlUpstream},
		{"wholeOIDC", wholeOIDC},
		{"wholeGitHub", wholeGitHub},
		{"wholeLDAP", wholeLDAP},
		{"wholeSAML", wholeSAML},
		{"samlLogout", samlLogout},
		{"oidcLogout", oidcLogout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(&world{t: t, chromium: chromium, client: http.DefaultClient})
		})
	}
}

// serve starts the provider with two apps. more is further configuration.
func (w *world) serve(more ...string) {
	w.t.Helper()
	w.app = newApp(w.t, w, "app", "the-secret-of-the-app-32-characters", "localhost")
	w.other = newApp(w.t, w, "other", "the-secret-of-other-app-32-characters", "other.localhost")
	if len(more) == 0 {
		more = []string{people}
	}
	w.start(`issuer: http://{address}/dex
web: {http: '{address}', limits: {shutdownDelay: 1ms}}
telemetry: {http: '{telemetry}'}
storage: {type: sqlite3, config: {file: '{dir}/countersign.db'}}
signer: {type: local, config: {algorithm: ES256}}
staticClients:
` + w.app.yaml("Demo App") + w.other.yaml("Other App") + `- {id: native, name: Native App, public: true, redirectURIs: ['http://127.0.0.1/callback', 'com.example.app:/callback']}
` + strings.Join(more, ""))
}

// start runs the program.
func (w *world) start(config string) {
	w.t.Helper()
	w.server = binary.Serve(w.t, config)
	scheme := "http"
	if strings.Contains("\n"+config, "\nissuer: https:") { // not an upstream's
		scheme = "https"
	}
	w.issuer = scheme + "://" + w.server.Address + "/dex"
	w.t.Cleanup(func() { w.noSecrets(w.server.Log()) })
}

// noSecrets: what the program logs lets nobody in.
func (w *world) noSecrets(log string) {
	for _, secret := range []string{password, url.QueryEscape(password), "the-secret-of"} {
		if strings.Contains(log, secret) {
			w.t.Errorf("%q is in the log", secret)
		}
	}
	if token := leak.Token(log); token != "" {
		w.t.Errorf("a token is in the log: %s…", token)
	}
}
