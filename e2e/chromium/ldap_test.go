package chromium_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/countersign/countersign/connector/ldaptest"
)

// directory signs somebody of an LDAP directory in, by a name that means something
// else to filters, with the groups of their groups.
func directory(w *world) {
	const uid = "o'müller (*)"
	s := ldaptest.Start(w.t, ldaptest.Options{})
	s.Person(w.t, uid, password)
	s.Group(w.t, "devs", ldaptest.PersonDN(uid))
	s.Group(w.t, "all", ldaptest.GroupDN("devs"))
	ca := filepath.Join(w.t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, s.CA.PEM, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.serve(`connectors:
- type: ldap
  id: staff
  name: Staff
  config:
    host: ` + s.Address + `
    startTLS: true
    rootCA: ` + ca + `
    bindDN: ` + ldaptest.Reader + `
    bindPW: ` + ldaptest.ReaderPassword + `
    usernamePrompt: Staff name
    userSearch: {baseDN: "ou=people,` + ldaptest.Base + `", username: uid, nameAttr: cn}
    groupSearch:
      baseDN: ou=groups,` + ldaptest.Base + `
      userMatchers:
      - {userAttr: DN, groupAttr: member, recursionGroupAttr: member}
`)
	b := w.stranger()
	b.open(w.app.address("/login"))
	if got := b.text("label[for=login]"); got != "Staff name" {
		w.t.Errorf("the page asks for %q", got)
	}
	b.fill(uid, password)
	b.approve()
	b.wants(map[string]any{"name": uid, "email": ldaptest.Mail(uid), "email_verified": true})
	if groups := fmt.Sprint(b.claims()["groups"]); groups != "[devs all]" {
		w.t.Errorf("groups %s", groups)
	}
}
