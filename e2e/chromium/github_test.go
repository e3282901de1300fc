package chromium_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/security"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connector/connectortest"
)

// gitHub signs in at a GitHub Enterprise Server, over its own page; then a team is
// taken away there, and at last the token.
func gitHub(w *world) {
	g := connectortest.NewGitHub(w.t, "/api/v3", time.Now, httptest.NewTLSServer)
	g.Put(connectortest.Account{
		ID: 583231, Login: "octocat", Name: "The Octocat", Emails: []connectortest.Email{{Email: "octocat@example.com", Primary: true, Verified: true}},
		Orgs:  []connectortest.Membership{{Org: "octo-org", State: "active"}},
		Teams: []connectortest.Team{{Org: "octo-org", Name: "Red Team", Slug: "red-team"}, {Org: "octo-org", Name: "ops"}},
	})
	root := filepath.Join(w.t.TempDir(), "ca.crt")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw}), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.serve(fmt.Sprintf(`connectors:
- type: github
  id: github
  name: GitHub
  recheck: 1ms
  config: {hostName: '%s', rootCA: %s, clientID: %s, clientSecret: %s, orgs: [{name: octo-org}], teamNameField: slug}
`, strings.TrimPrefix(g.URL, "https://"), root, connectortest.GitHubClientID, connectortest.GitHubClientSecret))
	g.Register(w.issuer + "/callback")

	b := w.stranger()
	call(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}) // only the program knows the authority
	login := w.app.address("/login?scope=openid+profile+email+groups+offline_access")
	b.open(login)
	b.see("button[name=cancel]")
	b.click("button[name=cancel]")
	b.see("//h1[.='You are not signed in']")
	b.expect("status of 403")

	b.open(login)
	b.see("button[name=login]")
	b.click("button[name=login]")
	b.approve()
	b.wants(map[string]any{"email": "octocat@example.com", "email_verified": true, "preferred_username": "octocat", "name": "The Octocat"})
	w.groups(b.claims(), "octo-org:red-team", "octo-org:ops")

	g.Change("octocat", func(a *connectortest.Account) { a.Teams = a.Teams[1:] })
	claims, err := w.app.refresh(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.groups(claims, "octo-org:ops")

	g.Revoke("octocat")
	refused, ok := errors.AsType[*oauth2.RetrieveError](second(w.app.refresh(w.t.Context())))
	if !ok || refused.ErrorCode != "invalid_grant" {
		w.t.Errorf("after the token was revoked: %v", refused)
	}
	if log := w.server.Log(); strings.Contains(log, "gho_") || strings.Contains(log, connectortest.GitHubClientSecret) {
		w.t.Error("a token of GitHub's is in the log")
	}
}

func second[T any](_ T, err error) error { return err }

func (w *world) groups(claims map[string]any, want ...string) {
	w.t.Helper()
	var got []string
	all, _ := claims["groups"].([]any)
	for _, group := range all {
		got = append(got, fmt.Sprint(group))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("groups %q, want %q", got, want)
	}
}
