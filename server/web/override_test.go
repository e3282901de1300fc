package web_test

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign/countersign/server/web"
)

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOverrideFolder(t *testing.T) {
	dir := folder(t, map[string]string{
		"templates/finished.html": `{{define "title"}}Own{{end}}{{define "content"}}<h1>Own page, {{.Site.Extra.team}}</h1><img src="{{.Static "team.png"}}">{{end}}`,
		"templates/.swp":          "an editor's",
		"static/team.png":         "png",
		"static/font.woff2":       "font",
		"locales/en.json":         `{"signed_out.title": "Bye, then"}`,
		"README":                  "not ours",
	})
	site := newSite(t, web.Config{Frontend: web.Frontend{Dir: dir, IssuerName: "Example ID", Extra: map[string]string{"team": "<Ops>"}}})
	own := show(t, site, web.Finished{}, web.PageOptions{})
	if got := body(t, own); !strings.Contains(got, "<h1>Own page, &lt;Ops&gt;</h1>") || !strings.Contains(got, "Example ID") || !strings.Contains(got, `src="/static/team.`) {
		t.Error(got)
	}
	if policy := own.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "font-src 'self'") {
		t.Errorf("policy %q, with a font", policy)
	}
	if got := body(t, show(t, site, web.SignedOut{}, web.PageOptions{})); !strings.Contains(got, "<h1>Bye, then</h1>") {
		t.Error(got)
	}
	if got := body(t, fetch(site, http.MethodGet, "/static/team.png")); got != "png" {
		t.Error(got)
	}
}

// A stylesheet of the operator's replaces ours; a logo is a file or an address.
func TestOverrideStyleAndLogo(t *testing.T) {
	dir := folder(t, map[string]string{"static/style.css": "body{}", "static/us.png": "png"})
	site := newSite(t, web.Config{BasePath: "/dex", Frontend: web.Frontend{Dir: dir, LogoURL: "us.png"}})
	if got := body(t, fetch(site, http.MethodGet, styleAddress(t, site))); got != "body{}" {
		t.Error(got)
	}
	images := elements(document(t, show(t, site, web.Home{}, web.PageOptions{})), "img")
	if src, _ := attr(images[0], "src"); !strings.HasPrefix(src, "/dex/static/us.") {
		t.Errorf("the logo is at %q", src)
	}
	page := web.Consent{Client: web.Client{ID: "app", LogoURL: "us.png"}}
	if shown := elements(document(t, show(t, site, page, web.PageOptions{})), "img"); len(shown) != 2 {
		t.Error("a client's logo is not shown")
	} else if src, _ := attr(shown[1], "src"); !strings.HasPrefix(src, "/dex/static/us.") {
		t.Errorf("a client's logo is at %q", src)
	}
}

// A further language must be complete; then it is chosen, and written in its
// direction.
func TestFurtherLanguage(t *testing.T) {
	english, err := os.ReadFile("locales/en.json")
	if err != nil {
		t.Fatal(err)
	}
	site := newSite(t, web.Config{Frontend: web.Frontend{Dir: folder(t, map[string]string{"locales/ar.json": string(english)})}})
	got := body(t, show(t, site, web.Home{}, web.PageOptions{Locales: []string{"ar-EG"}}))
	if !strings.Contains(got, `<html lang="ar" dir="rtl">`) {
		t.Error(got)
	}
}

func TestBrokenFrontends(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		frontend web.Frontend
		want     string
	}{
		"template name":      {map[string]string{"templates/login.html": ""}, web.Frontend{}, "templates/login.html is no template of ours; there are account.html, choose_account.html,"},
		"template syntax":    {map[string]string{"templates/home.html": "{{define \"content\"}}\n{{if}}{{end}}"}, web.Frontend{}, "templates/home.html: template: home.html:2: missing value for if"},
		"template field":     {map[string]string{"templates/home.html": `{{define "content"}}{{.Page.Persona}}{{end}}`}, web.Frontend{}, "templates/home.html: template: home.html:1:"},
		"template text":      {map[string]string{"templates/home.html": `{{define "content"}}{{.T "home.nothing"}}{{end}}`}, web.Frontend{}, `there is no text "home.nothing"`},
		"template context":   {map[string]string{"templates/home.html": `{{define "content"}}<a href="{{if .Page.Person}}x" {{end}}>{{end}}`}, web.Frontend{}, "templates/home.html"},
		"layout":             {map[string]string{"templates/layout.html": `{{define "layout"}}{{.None}}{{end}}`}, web.Frontend{}, "layout.html:1:"},
		"static kind":        {map[string]string{"static/app.js": ""}, web.Frontend{}, "static/app.js: only .css, .gif,"},
		"static name":        {map[string]string{"static/my logo.png": ""}, web.Frontend{}, "static/my logo.png: only"},
		"static folder":      {map[string]string{"static/img/logo.png": ""}, web.Frontend{}, "static/img is not a file"},
		"locale key":         {map[string]string{"locales/de.json": `{"signin.titel": ""}`}, web.Frontend{}, `locales/de.json: unknown key "signin.titel"`},
		"locale placeholder": {map[string]string{"locales/de.json": `{"client.continue": "weiter"}`}, web.Frontend{}, `locales/de.json: "client.continue" has the placeholders`},
		"locale incomplete":  {map[string]string{"locales/fr.json": `{}`}, web.Frontend{}, `locales/fr.json: key "account.continue" is missing`},
		"locale syntax":      {map[string]string{"locales/de.json": `{`}, web.Frontend{}, "locales/de.json: unexpected end of JSON input"},
		"locale name":        {map[string]string{"locales/notes.txt": `{}`}, web.Frontend{}, "locales/notes.txt is not named after a language"},
		"logo of nowhere":    {nil, web.Frontend{LogoURL: "logo.png"}, `frontend.logoURL "logo.png" is neither`},
		"logo over http":     {nil, web.Frontend{LogoURL: "http://cdn.example/logo.png"}, "is neither an https address"},
		"logo as data":       {nil, web.Frontend{LogoURL: "data:image/png;base64,AA=="}, "is neither an https address"},
		"theme":              {nil, web.Frontend{Theme: "blue"}, `frontend.theme "blue"`},
	} {
		t.Run(name, func(t *testing.T) {
			c.frontend.Dir = folder(t, c.files)
			if _, err := web.New(web.Config{Frontend: c.frontend}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := web.New(web.Config{Frontend: web.Frontend{Dir: filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("a folder that is not there is none")
	}
	for _, base := range []string{"dex", "/dex/", "/"} {
		if _, err := web.New(web.Config{BasePath: base}); err == nil {
			t.Errorf("base path %q is none", base)
		}
	}
}

// Links within the folder work, as in a mounted ConfigMap; links out of it do not.
func TestOverrideLinks(t *testing.T) {
	dir := folder(t, map[string]string{"static/..2026/a.png": "a"})
	for link, target := range map[string]string{"static/..data": "..2026", "static/a.png": "..data/a.png"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	site := newSite(t, web.Config{Frontend: web.Frontend{Dir: dir}})
	if got := body(t, fetch(site, http.MethodGet, "/static/a.png")); got != "a" {
		t.Error(got)
	}
	secret := filepath.Join(folder(t, map[string]string{"secret.png": "s"}), "secret.png")
	if err := os.Symlink(secret, filepath.Join(dir, "static", "b.png")); err != nil {
		t.Fatal(err)
	}
	if _, err := web.New(web.Config{Frontend: web.Frontend{Dir: dir}}); err == nil {
		t.Error("a link out of the folder was followed")
	}
}

// A template that fails with what it gets is a plain 500 with our headers, a log
// record, and no half page.
func TestFailingTemplate(t *testing.T) {
	dir := folder(t, map[string]string{
		"templates/choose_connector.html": `{{define "content"}}half a page {{(index .Page.Connectors 1).Name}}{{end}}`,
	})
	var log bytes.Buffer
	site := newSite(t, web.Config{Frontend: web.Frontend{Dir: dir}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	res := show(t, site, web.ChooseConnector{Connectors: []web.ConnectorLink{{Name: "only"}}}, web.PageOptions{RequestID: "r-1"})
	if got := body(t, res); res.StatusCode != http.StatusInternalServerError || strings.Contains(got, "half") || !strings.Contains(got, "r-1") {
		t.Errorf("status %d: %s", res.StatusCode, got)
	}
	want := maps.Clone(common)
	want["Content-Security-Policy"] = policyOfNothing
	want["Content-Type"] = "text/plain; charset=utf-8"
	checkHeaders(t, res.Header, want)
	if !strings.Contains(log.String(), "request_id=r-1") || !strings.Contains(log.String(), "choose_connector") {
		t.Errorf("log: %s", log.String())
	}
}
