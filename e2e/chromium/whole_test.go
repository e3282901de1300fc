package chromium_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/go-ldap/ldap/v3"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector/connectortest"
	"github.com/countersign/countersign/connector/ldaptest"
	"github.com/countersign/countersign/e2e/oidcprovider"
	"github.com/countersign/countersign/e2e/simplesamlphp"
)

// offline asks an app's login for all that a whole way needs.
const offline = "/login?scope=openid+profile+email+groups+offline_access"

// way is what happens at an upstream.
type way struct {
	// signIn is what a person does on the upstream's pages, or on ours for it.
	signIn func(*tab)
	// take takes the group "ops" away from them, who are in "devs", too; disable
	// disables their account.
	take, disable func()
	// devs and ops are what we call these groups.
	devs, ops string
}

// whole goes the whole way: from the app by us to the upstream and back, with groups;
// one is taken away, and the next refresh does not have it any more; the account is
// disabled, and the next refresh is refused.
func (w *world) whole(b *tab, u way) {
	w.t.Helper()
	b.open(w.app.address(offline))
	u.signIn(b)
	b.approve()
	w.groups(b.claims(), u.devs, u.ops)
	subject := b.claims()["sub"]
	for range 2 { // what an upstream rotates is rotated more than once
		w.refreshed(subject, u.devs, u.ops)
	}
	u.take()
	w.refreshed(subject, u.devs)
	u.disable()
	w.refused()
}

// refreshed wants a refresh to succeed, with these groups.
func (w *world) refreshed(subject any, groups ...string) {
	w.t.Helper()
	claims, err := w.app.refresh(w.t.Context())
	if err != nil {
		w.t.Fatalf("refreshing: %v", err)
	}
	if claims["sub"] != subject {
		w.t.Errorf("the refresh is of %v, not of %v", claims["sub"], subject)
	}
	w.groups(claims, groups...)
}

// refused wants a refresh to fail for good.
func (w *world) refused() {
	w.t.Helper()
	refused, ok := errors.AsType[*oauth2.RetrieveError](second(w.app.refresh(w.t.Context())))
	if !ok || refused.ErrorCode != "invalid_grant" {
		w.t.Errorf("the refresh of somebody who may not: %v", refused)
	}
}

// wholeOIDC goes by oidc-provider.
func wholeOIDC(w *world) {
	op := oidcprovider.Start(w.t)
	op.Put("ada", "devs", "ops")
	w.serve(fmt.Sprintf(`connectors:
- type: oidc
  id: op
  recheck: 1ms
  config:
    issuer: %s
    clientID: us
    clientSecret: %s
    scopes: [openid, profile, email, groups, offline_access]
    promptType: consent
    insecureEnableGroups: true
`, op.Issuer, oidcprovider.Secret("us")))
	op.Register("us", "client_secret_basic", w.issuer+"/callback")
	w.known(1)
	signIn := func(b *tab) {
		b.see("#name")
		b.do("signing in at the provider", chromedp.SetValue(chromedp.CSS("#name"), "ada"))
		b.click("#login")
	}
	w.whole(w.stranger(), way{
		signIn: signIn, devs: "devs", ops: "ops",
		take: func() { op.Put("ada", "devs") }, disable: func() { op.Remove("ada") },
	})
	b := w.stranger()
	b.open(w.app.address(offline))
	signIn(b)
	b.see("#refused")
	b.expect("status of 403")
}

// wholeGitHub goes by a GitHub Enterprise Server.
func wholeGitHub(w *world) {
	g := connectortest.NewGitHub(w.t, "/api/v3", time.Now, httptest.NewTLSServer)
	g.Put(connectortest.Account{
		ID: 583231, Login: "octocat", Orgs: []connectortest.Membership{{Org: "octo-org", State: "active"}},
		Emails: []connectortest.Email{{Email: "octocat@example.com", Primary: true, Verified: true}},
		Teams:  []connectortest.Team{{Org: "octo-org", Name: "devs"}, {Org: "octo-org", Name: "ops"}},
	})
	w.serve(fmt.Sprintf(`connectors:
- type: github
  id: github
  recheck: 1ms
  config: {hostName: '%s', rootCA: %s, clientID: %s, clientSecret: %s, orgs: [{name: octo-org}]}
`, strings.TrimPrefix(g.URL, "https://"), w.file("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw})), connectortest.GitHubClientID, connectortest.GitHubClientSecret))
	g.Register(w.issuer + "/callback")
	g.Expiring()
	b := w.stranger()
	call(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}) // only the program knows the authority
	w.whole(b, way{
		signIn: func(b *tab) { b.see("button[name=login]"); b.click("button[name=login]") },
		devs:   "octo-org:devs", ops: "octo-org:ops",
		take:    func() { g.Change("octocat", func(a *connectortest.Account) { a.Teams = a.Teams[:1] }) },
		disable: func() { g.Change("octocat", func(a *connectortest.Account) { a.Suspended = true }) },
	})
}

// wholeLDAP goes by an OpenLDAP. The account is locked there as its administrators do
// it, for good.
func wholeLDAP(w *world) {
	s := ldaptest.Start(w.t, ldaptest.Options{Config: "moduleload ppolicy"}) // which knows the attribute
	s.Person(w.t, "ada", password)
	s.Group(w.t, "devs", ldaptest.PersonDN("ada"))
	s.Group(w.t, "ops", ldaptest.PersonDN("ada"), ldaptest.Reader)
	w.serve(fmt.Sprintf(`connectors:
- type: ldap
  id: staff
  recheck: 1ms
  config:
    host: %s
    rootCA: %s
    bindDN: %s
    bindPW: %s
    userSearch: {baseDN: "ou=people,%[5]s", username: uid, nameAttr: cn, idAttr: entryUUID}
    groupSearch:
      baseDN: ou=groups,%[5]s
      userMatchers: [{userAttr: DN, groupAttr: member}]
`, s.TLSAddress, w.file("ca.crt", s.CA.PEM), ldaptest.Reader, ldaptest.ReaderPassword, ldaptest.Base))
	modify := func(dn string, change func(*ldap.ModifyRequest)) {
		r := ldap.NewModifyRequest(dn, nil)
		change(r)
		s.Do(w.t, func(c *ldap.Conn) error { return c.Modify(r) })
	}
	w.whole(w.stranger(), way{
		signIn: func(b *tab) { b.fill("ada", password) }, devs: "devs", ops: "ops",
		take: func() {
			modify(ldaptest.GroupDN("ops"), func(r *ldap.ModifyRequest) { r.Delete("member", []string{ldaptest.PersonDN("ada")}) })
		},
		disable: func() {
			modify(ldaptest.PersonDN("ada"), func(r *ldap.ModifyRequest) { r.Add("pwdAccountLockedTime", []string{"000001010000Z"}) })
		},
	})
}

// wholeSAML goes by SimpleSAMLphp, which cannot be asked about people who are not
// there: refreshes go on as they were until maxAge ends them; a new sign-in then has
// the groups of the day, or is refused there.
func wholeSAML(w *world) {
	idp := simplesamlphp.Start(w.t)
	idp.People(map[string][]string{"ada": {"devs", "ops"}})
	w.serve(fmt.Sprintf(`connectors:
- {type: saml, id: saml, config: {metadataURL: '%s', entityIssuer: 'urn:us', usernameAttr: displayName, emailAttr: mail, groupsAttr: groups, maxAge: 1m}}
`, idp.Metadata))
	idp.Register("urn:us", w.issuer+"/callback", "")
	w.known(1)
	signIn := func(b *tab) {
		b.elsewhere = true
		b.open(w.app.address(offline))
		b.see("#username")
		b.do("signing in at the provider",
			chromedp.SetValue(chromedp.CSS("#username"), "ada"), chromedp.SetValue(chromedp.CSS("#password"), simplesamlphp.Password))
		b.click("[type=submit]")
	}
	b := w.stranger()
	signIn(b)
	b.approve()
	w.groups(b.claims(), "devs", "ops")
	subject := b.claims()["sub"]
	idp.People(map[string][]string{"ada": {"devs"}})
	w.refreshed(subject, "devs", "ops")
	w.tooOld(subject)

	b = w.stranger()
	signIn(b)
	claims := b.claims() // consent was remembered
	w.groups(claims, "devs")
	if claims["sub"] != subject {
		w.t.Errorf("signed in as %v, then as %v", subject, claims["sub"])
	}
	idp.People(map[string][]string{"eve": {"devs"}})
	b = w.stranger()
	signIn(b)
	b.see("//*[contains(text(), 'Incorrect username or password')]")
}

// tooOld waits until refreshes are refused, a minute after the sign-in. None of those
// before has lost what the sign-in said.
func (w *world) tooOld(subject any) {
	w.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		select {
		case <-tick.C:
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		}
		claims, err := w.app.refresh(w.t.Context())
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.ErrorCode == "invalid_grant" {
			return
		}
		if err != nil {
			w.t.Fatalf("refreshing: %v", err)
		}
		w.groups(claims, "devs", "ops")
		if claims["sub"] != subject {
			w.t.Errorf("the refresh is of %v", claims["sub"])
		}
	}
	w.t.Fatal("refreshes go on after maxAge")
}

// file writes a file of the test's, and returns where it is.
func (w *world) file(name string, text []byte) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}
