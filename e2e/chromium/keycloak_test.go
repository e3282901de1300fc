package chromium_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/browser"
	"github.com/countersign/countersign/e2e/keycloak"
)

// TestKeycloak is one Keycloak for all that follows; each has a realm of its own.
func TestKeycloak(t *testing.T) {
	chromium := browser.New(t)
	server := keycloak.Start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Keycloak printed:\n%s", server.Log())
		}
	})
	for _, c := range []struct {
		name string
		test func(*world, *keycloak.Realm)
	}{
		{"saml", keycloakSAML}, // first, because it takes longest
		{"openid", keycloakOpenID},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(&world{t: t, chromium: chromium, client: http.DefaultClient}, server.Realm(c.name))
		})
	}
}

// keycloakOpenID: groups follow, a key that rolls over is found, a disabled account
// ends it, and so does the end of the session there without offline_access.
func keycloakOpenID(w *world, realm *keycloak.Realm) {
	const secret = "the-secret-of-countersign-at-keycloak"
	file := filepath.Join(w.t.TempDir(), "keycloak-secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	realm.Import(w.t, keycloak.Clients{Secret: secret, EntityID: "urn:unused"})
	offline := strings.Replace(w.readme("keycloak-oidc", realm, file), "config:", "recheck: 1ms\n      config:", 1)
	online := strings.Replace(offline, "id: keycloak-oidc\n", "id: online\n", 1) + "        scopes: [openid, profile, email]\n"
	w.serve("connectors:\n" + offline + online)
	realm.SendBack(w.t, keycloak.OpenIDClient, w.issuer+"/callback")
	realm.WarmUp(w.t)
	w.known(2)

	const scope = "&scope=openid+profile+email+groups+offline_access"
	b := w.visitor()
	b.open(w.app.address("/login?connector_id=keycloak-oidc" + scope))
	b.keycloak(keycloak.Ada)
	b.approve()
	b.wants(map[string]any{"iss": w.issuer, "email": "ada@example.org", "email_verified": true, "name": "Ada Lovelace", "preferred_username": keycloak.Ada})
	w.groups(b.claims(), keycloak.Admins, keycloak.Staff)
	w.keycloakChanges(realm)

	b = w.visitor()
	b.open(w.app.address("/login?connector_id=online" + scope))
	b.keycloak(keycloak.Bob)
	b.approve()
	w.groups(b.claims(), keycloak.Admins, keycloak.Staff)
	b.open(w.app.address("/login?connector_id=online&prompt=login" + scope)) // Keycloak has a session, and asks all the same
	b.again()
	b.wants(map[string]any{"email": "bob@example.org"})
	if _, err := w.app.refresh(w.t.Context()); err != nil {
		w.t.Errorf("while the session lives: %v", err)
	}
	realm.SignOut(w.t, keycloak.Bob)
	w.over("the session has ended")
	if log := w.server.Log(); strings.Contains(log, secret) || strings.Contains(log, "ada@example.org") {
		w.t.Error("a secret or an address is in the log")
	}
}

// keycloakChanges lets Keycloak change its mind about Ada while an app refreshes.
func (w *world) keycloakChanges(realm *keycloak.Realm) {
	w.t.Helper()
	realm.Leave(w.t, keycloak.Ada, keycloak.Admins)
	claims, err := w.app.refresh(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.groups(claims, keycloak.Staff)

	realm.RollOver(w.t)
	realm.Leave(w.t, keycloak.Ada, keycloak.Staff)
	w.await("the new key is believed", func() bool {
		claims, err := w.app.refresh(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		return claims["groups"] == nil
	})

	realm.Disable(w.t, keycloak.Ada)
	w.over("the account was disabled")
}

// keycloakSAML: requests are signed, and have to be, and so are responses; the second
// connector posts its requests, and Keycloak, which knows of it what our metadata
// say, signs and encrypts assertions for it; a key that rolls over is found; maxAge
// ends it.
func keycloakSAML(w *world, realm *keycloak.Realm) {
	pair, certificate := keyPair(w)
	section := w.readme("keycloak", realm, pair)
	entityID := regexp.MustCompile(`entityIssuer: (.*)\n`).FindStringSubmatch(section)[1]
	sealed := strings.NewReplacer("id: keycloak\n", "id: sealed\n", entityID, "urn:sealed").Replace(section) +
		fmt.Sprintf("        encryptionKey: %[1]s\n        encryptionCert: %[1]s\n        binding: post\n", pair)
	der, _ := pem.Decode(certificate)
	realm.Import(w.t, keycloak.Clients{Secret: "unused", EntityID: entityID, Certificate: der.Bytes})
	w.serve("connectors:\n" + section + "        maxAge: 1m\n" + sealed)
	realm.SendBack(w.t, entityID, w.issuer+"/callback")
	realm.WarmUp(w.t)
	if !realm.Register(w.t, w.get(w.issuer+"/saml/sealed/metadata"), entityID) {
		w.t.Error("our metadata do not make Keycloak encrypt")
	}
	w.known(2)

	ways := map[string]string{
		"keycloak": w.app.address("/login?connector_id=keycloak&scope=openid+profile+email+groups+offline_access"),
		"sealed":   w.other.address("/login?connector_id=sealed"),
	}
	for id, login := range ways {
		b := w.visitor()
		b.open(login)
		b.see("#username")
		if id == "keycloak" {
			w.unsigned(b, realm)
		}
		b.keycloak(keycloak.Ada)
		b.approve()
		b.wants(map[string]any{"iss": w.issuer, "email": "ada@example.org", "email_verified": true, "name": keycloak.Ada})
		w.groups(b.claims(), keycloak.Admins, keycloak.Staff)
		if id == "sealed" {
			w.ciphers(b, realm, login+"&prompt=login") // ForceAuthn
		}
	}
	if _, err := w.app.refresh(w.t.Context()); err != nil {
		w.t.Errorf("within maxAge: %v", err)
	}

	realm.RollOver(w.t)
	b := w.visitor()
	b.open(ways["sealed"])
	b.keycloak(keycloak.Bob)
	b.approve()
	b.wants(map[string]any{"email": "bob@example.org"})
	w.keycloakSignsOut(b, realm, ways["sealed"])

	w.await("maxAge is over", func() bool { return w.ended() })
	if log := w.server.Log(); strings.Contains(log, "SAMLResponse") || strings.Contains(log, "ada@example.org") {
		w.t.Error("an assertion is in the log")
	}
}

// keycloakSignsOut signs Bob out here, which Keycloak hears of and confirms, and then
// at Keycloak, which asks us: single logout, both ways, signed.
func (w *world) keycloakSignsOut(b *tab, realm *keycloak.Realm, login string) {
	w.t.Helper()
	nobody := func(when string) {
		w.t.Helper()
		b.open(w.other.address("/login?prompt=none"))
		if got := b.text("#error"); got != "login_required" {
			w.t.Errorf("%s, the app heard %q", when, got)
		}
	}
	b.open(w.issuer + "/")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	if page := b.text("main"); strings.Contains(page, "Keycloak") {
		w.t.Errorf("Keycloak has not confirmed: %s", page)
	}
	nobody("after signing out here")

	b.open(login)
	b.keycloak(keycloak.Bob) // it asks who it is: its own session has ended, too
	b.wants(map[string]any{"email": "bob@example.org"})
	b.open(realm.URL + "/protocol/openid-connect/logout")
	b.click("#kc-logout")
	b.see("//*[contains(text(), 'You are logged out')]")
	nobody("after signing out there")
	if log := w.server.Log(); !strings.Contains(log, "logout_upstream=asked") {
		w.t.Error("Keycloak has not asked")
	}
}

// ciphers signs in with each way to encrypt that Keycloak has and we accept.
func (w *world) ciphers(b *tab, realm *keycloak.Realm, login string) {
	w.t.Helper()
	const old, new, signature = "http://www.w3.org/2001/04/xmlenc#", "http://www.w3.org/2009/xmlenc11#", "http://www.w3.org/2000/09/xmldsig#"
	for _, c := range []struct{ content, key, digest, mask string }{
		{new + "aes256-gcm", new + "rsa-oaep", old + "sha512", new + "mgf1sha512"},
		{new + "aes128-gcm", new + "rsa-oaep", old + "sha256", new + "mgf1sha256"},
		{old + "aes128-cbc", old + "rsa-oaep-mgf1p", signature + "sha1", ""},
	} {
		realm.Encrypt(w.t, "urn:sealed", c.content, c.key, c.digest, c.mask)
		b.open(login)
		b.again()
		b.wants(map[string]any{"email": "ada@example.org"})
	}
}

// readme is the section of a connector in the README, for this realm and with a
// file of ours for the one that is named there.
func (w *world) readme(id string, realm *keycloak.Realm, file string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(browser.Root(w.t), "README.md"))
	if err != nil {
		w.t.Fatal(err)
	}
	section := regexp.MustCompile(`(?m)^    - type: \w+\n      id: ` + id + `\n(?:      .*\n)+`).FindString(string(text))
	if section == "" {
		w.t.Fatalf("the README has no connector %q", id)
	}
	section = regexp.MustCompile(`/etc/countersign/\S+`).ReplaceAllString(section, file)
	return strings.ReplaceAll(section, "https://keycloak.example.com/realms/staff", realm.URL)
}

// known waits until so many upstreams are known.
func (w *world) known(n int) {
	w.t.Helper()
	w.await("the upstreams are known", func() bool { return strings.Count(w.server.Log(), "an upstream is known") == n })
}

// await waits until something is so: for minutes, if need be.
func (w *world) await(what string, so func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-again.C:
		case <-ctx.Done():
			w.t.Fatalf("it never came that %s", what)
		}
	}
}

// ended reports that the app's refresh token is over.
func (w *world) ended() bool {
	w.t.Helper()
	_, err := w.app.refresh(w.t.Context())
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if err != nil && (!ok || refused.ErrorCode != "invalid_grant") {
		w.t.Fatalf("refreshing: %v", err)
	}
	return err != nil
}

// over: the app's refresh token is over.
func (w *world) over(why string) {
	w.t.Helper()
	if !w.ended() {
		w.t.Errorf("after %s, the app could refresh", why)
	}
}

// unsigned: Keycloak takes the request that has led here, and does not take it
// without its signature.
func (w *world) unsigned(b *tab, realm *keycloak.Realm) {
	w.t.Helper()
	for _, document := range b.documents() {
		_, address, _ := strings.Cut(document, "GET ")
		if !strings.HasPrefix(address, realm.URL+"/protocol/saml?SAMLRequest=") {
			continue
		}
		bare, signature, signed := strings.Cut(address, "&SigAlg=")
		if !signed || !strings.Contains(signature, "&Signature=") {
			w.t.Errorf("the request is not signed: %s", address)
		}
		resp, err := http.Get(bare)
		if err != nil {
			w.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			w.t.Errorf("without a signature, Keycloak answers %s", resp.Status)
		}
		return
	}
	w.t.Error("nothing has led to Keycloak")
}

func (w *world) get(address string) []byte {
	w.t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s answered %s, %v", address, resp.Status, err)
	}
	return text
}

// visitor is a stranger who also sees pages of Keycloak's.
func (w *world) visitor() *tab {
	b := w.stranger()
	b.elsewhere = true
	w.t.Cleanup(func() {
		for _, entry := range b.log.Take() {
			if !strings.HasPrefix(entry, tooEarly) && !theirs(entry) && !slices.ContainsFunc(keycloakFlaws, func(flaw string) bool { return strings.Contains(entry, flaw) }) {
				w.t.Errorf("Chromium complains: %s", entry)
			}
		}
	})
	return b
}

// keycloakFlaws are what Chromium says of Keycloak's pages: of a script, of a label
// and of the page that asks for the password alone.
var keycloakFlaws = []string{"/js/authChecker.js", "FormLabelForMatchesNonExistingIdError", "username fields for accessibility"}

// keycloak signs in on Keycloak's page.
func (b *tab) keycloak(name string) {
	b.t.Helper()
	b.see("#username")
	b.do("signing in at Keycloak",
		chromedp.SetValue(chromedp.CSS("#username"), name), chromedp.SetValue(chromedp.CSS("#password"), keycloak.Password))
	b.click("#kc-login")
}

// again gives the password alone, where Keycloak knows who it is.
func (b *tab) again() {
	b.t.Helper()
	b.see("#kc-attempted-username")
	b.do("signing in at Keycloak again", chromedp.SetValue(chromedp.CSS("#password"), keycloak.Password))
	b.click("#kc-login")
}
