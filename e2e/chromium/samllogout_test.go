package chromium_test

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/countersign/countersign/e2e/simplesamlphp"
)

// samlLogout signs people out at a SimpleSAMLphp, and has it sign them out here.
func samlLogout(w *world) {
	idp := simplesamlphp.Start(w.t)
	pair, certificate := keyPair(w)
	w.serve(people, fmt.Sprintf("connectors:\n- {type: saml, id: school, name: School, config: {metadataURL: '%s', entityIssuer: 'urn:us', "+
		"usernameAttr: displayName, emailAttr: mail, groupsAttr: groups, signingKey: '%[2]s', signingCert: '%[2]s', logoutUpstream: true}}\n", idp.Metadata, pair))
	idp.Certificate("sp.crt", certificate)
	idp.Register("urn:us", w.issuer+"/callback", fmt.Sprintf(
		"'SingleLogoutService' => '%s/logout/callback/school', 'sign.logout' => true, 'validate.logout' => true, 'validate.authnrequest' => true, 'certificate' => 'sp.crt'", w.issuer))
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s\n%s", idp.Log(), w.server.Log())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(w.server.Log(), "an upstream is known"); {
		if time.Now().After(deadline) {
			w.t.Fatal("the provider's metadata were not read")
		}
		time.Sleep(20 * time.Millisecond)
	}
	b := w.stranger()
	b.elsewhere = true
	signIn := func() {
		w.t.Helper()
		b.open(w.app.address("/login?connector_id=school"))
		b.see("#username") // it does not know them, or not any more
		b.do("signing in at the provider",
			chromedp.SetValue(chromedp.CSS("#username"), simplesamlphp.Alice), chromedp.SetValue(chromedp.CSS("#password"), simplesamlphp.Password))
		b.click("[type=submit]")
	}
	nobody := func(when string) {
		w.t.Helper()
		b.open(w.app.address("/login?prompt=none"))
		if got := b.text("#error"); got != "login_required" {
			w.t.Errorf("%s, the app heard %q", when, got)
		}
	}
	signIn()
	b.approve()
	b.wants(map[string]any{"email": "alice@example.org"})

	b.open(w.issuer + "/")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	if page := b.text("main"); strings.Contains(page, "School") {
		w.t.Errorf("the provider has not confirmed: %s", page)
	}
	nobody("after signing out here")

	signIn()
	b.wants(map[string]any{"email": "alice@example.org"})
	home := strings.TrimSuffix(idp.Metadata, "saml2/idp/metadata.php")
	b.open(home + "saml2/idp/initSLO.php?" + url.Values{"RelayState": {home + "logout.php"}}.Encode())
	b.see("//*[contains(text(), 'logged out')]")
	nobody("after signing out there")
	signIn()
	b.wants(map[string]any{"email": "alice@example.org"})

	if log := w.server.Log(); strings.Contains(log, "SAMLRe") || strings.Contains(log, "alice") || !strings.Contains(log, "logout_upstream=asked") {
		w.t.Error("a message is in the log, or none came")
	}
}
