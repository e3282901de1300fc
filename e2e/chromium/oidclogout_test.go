package chromium_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/countersign/countersign/e2e/binary"
	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// oidcLogout signs people out at a Countersign behind this one, at another site.
func oidcLogout(w *world) {
	port, err := freeport.Find()
	if err != nil {
		w.t.Fatal(err)
	}
	issuer := fmt.Sprintf("http://localhost:%d/head", port)
	const secret = "the-secret-of-down-at-the-head-office"
	w.serve(fmt.Sprintf("connectors:\n- {type: oidc, id: head, name: Head Office, config: {issuer: '%s', clientID: down, clientSecret: %s, logoutUpstream: true}}\n", issuer, secret))
	head := binary.Serve(w.t, fmt.Sprintf(`issuer: %s
web: {http: '127.0.0.1:%d', limits: {shutdownDelay: 1ms}}
telemetry: {http: '{telemetry}'}
storage: {type: sqlite3, config: {file: '{dir}/countersign.db'}}
signer: {type: local, config: {algorithm: ES256}}
oauth2: {skipApprovalScreen: true}
staticClients:
- {id: down, name: Down, secret: %s, redirectURIs: ['%s/callback'], postLogoutRedirectURIs: ['%[4]s/logout/callback']}
`, issuer, port, secret, w.issuer)+people)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(w.server.Log(), "an upstream is known"); {
		if time.Now().After(deadline) {
			w.t.Fatalf("the provider's metadata were not read:\n%s", w.server.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
	b := w.stranger()
	b.open(w.app.address("/login"))
	b.fill(ada, password)
	b.approve()
	b.wants(map[string]any{"iss": w.issuer, "email": ada})
	b.open(w.app.address("/login?prompt=login"))
	b.fill(ada, password)
	b.wants(map[string]any{"email": ada})
	b.documents()

	b.open(w.issuer + "/")
	b.click("form .button")
	b.see("//h1[.='You are signed out']")
	if way := strings.Join(b.documents(), "\n"); !strings.Contains(way, issuer+"/logout?") || !strings.Contains(way, w.issuer+"/logout/callback?state=") {
		w.t.Errorf("the way out:\n%s", way)
	}
	if page := b.text("main"); strings.Contains(page, "Head Office") {
		w.t.Errorf("it was not confirmed: %s", page)
	}
	// The next person at this browser is asked who they are.
	b.open(w.app.address("/login"))
	b.fill(bob, password)
	b.approve()
	b.wants(map[string]any{"email": bob})
	for _, log := range []string{w.server.Log(), head.Log()} {
		w.noSecrets(log)
	}
}
