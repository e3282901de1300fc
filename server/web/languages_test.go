package web

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func catalogueFile(t *testing.T, name string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("locales", name))
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string]string
	if err := json.Unmarshal(content, &texts); err != nil {
		t.Fatal(err)
	}
	return texts
}

// usedKeys are the keys in templates ({{.T "key"}}) and the string literals of the
// program that are keys.
func usedKeys(t *testing.T) (inTemplates, literals map[string]bool) {
	t.Helper()
	inTemplates, literals = map[string]bool{}, map[string]bool{}
	call := regexp.MustCompile(`\.T "([^"]*)"`)
	templates, _ := filepath.Glob("templates/*.html")
	for _, name := range templates {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(content), -1) {
			inTemplates[m[1]] = true
		}
	}
	sources, _ := filepath.Glob("*.go")
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				s, _ := strconv.Unquote(lit.Value)
				literals[s] = true
			}
			return true
		})
	}
	return inTemplates, literals
}

func TestCataloguesComplete(t *testing.T) {
	inTemplates, literals := usedKeys(t)
	english := catalogueFile(t, "en.json")
	for key := range inTemplates {
		if _, ok := english[key]; !ok {
			t.Errorf("a template uses %q, which en.json lacks", key)
		}
	}
	for key := range english {
		if !inTemplates[key] && !literals[key] {
			t.Errorf("nothing uses %q", key)
		}
	}
	dynamic := slices.Collect(maps.Values(scopeTexts))
	dynamic = append(dynamic, slices.Collect(maps.Values(loginTexts))...)
	for _, keys := range errorTexts {
		dynamic = append(dynamic, keys[:]...)
	}
	for _, key := range dynamic {
		if _, ok := english[key]; !ok {
			t.Errorf("the program uses %q, which en.json lacks", key)
		}
	}
	for _, name := range []string{"en.json", "de.json"} {
		if _, err := newCatalogue(name, catalogueFile(t, name), english); err != nil {
			t.Error(err)
		}
		for key, s := range catalogueFile(t, name) {
			if strings.TrimSpace(s) == "" || strings.ContainsAny(s, "<>&") {
				t.Errorf("%s: %q is %q", name, key, s)
			}
		}
	}
}

// No text stands in a template itself: it would be English for everybody.
func TestNoTextOutsideCatalogues(t *testing.T) {
	action := regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	templates, _ := filepath.Glob("templates/*.html")
	for _, name := range templates {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		z := html.NewTokenizer(strings.NewReader(action.ReplaceAllString(string(content), "")))
		for z.Next() != html.ErrorToken {
			if token := z.Token(); token.Type == html.TextToken && strings.ContainsFunc(token.Data, isLetter) {
				t.Errorf("%s has the text %q", name, token.Data)
			}
		}
	}
}

func isLetter(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }

func TestChooseLanguage(t *testing.T) {
	site, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 100)
	many[99] = "de"
	for _, c := range []struct {
		locales []string
		accept  string
		want    string
	}{
		{nil, "", "en"},
		{nil, "de", "de"},
		{nil, "de-AT,en;q=0.5", "de"},
		{nil, "fr,de;q=0.8,en;q=0.5", "de"},
		{nil, "en;q=0.3,de;q=0.9", "de"},
		{nil, "fr", "en"},
		{nil, "zh-Hant-TW", "en"},
		{[]string{"de"}, "en", "de"},
		{[]string{"en"}, "de", "en"},
		{[]string{"de-CH", "en"}, "", "de"},
		{[]string{"fr", "de"}, "en", "de"},
		{[]string{"fr"}, "de", "de"}, // not ours: the browser is asked
		{[]string{"", "???", "de"}, "", "de"},
		{many, "", "en"}, // bounded
		{nil, "\x00;;;,,,q=", "en"},
		{nil, strings.Repeat("de-", 4000), "en"},
		{nil, "*", "en"},
	} {
		if got := site.languages.choose(c.locales, c.accept).tag.String(); got != c.want {
			t.Errorf("ui_locales %.40q, Accept-Language %.40q: %s, want %s", c.locales, c.accept, got, c.want)
		}
	}
}

func TestDirection(t *testing.T) {
	for name, want := range map[string]string{"en": "ltr", "de": "ltr", "ar": "rtl", "he": "rtl", "fa": "rtl", "ur": "rtl", "az-Arab": "rtl", "az": "ltr"} {
		c, _ := newCatalogue(name+".json", nil, nil)
		if got := c.direction(); got != want {
			t.Errorf("%s is written %s", name, got)
		}
	}
}

func TestIncompleteCatalogues(t *testing.T) {
	english := map[string]string{"a": "A {x}", "b": "B"}
	for name, c := range map[string]struct {
		file  string
		texts map[string]string
		want  string
	}{
		"missing":           {"fr.json", map[string]string{"a": "{x}"}, `key "b" is missing`},
		"unknown":           {"fr.json", map[string]string{"a": "{x}", "b": "", "c": ""}, `unknown key "c"`},
		"placeholder lost":  {"fr.json", map[string]string{"a": "A", "b": ""}, `has the placeholders [], it needs ["x"]`},
		"placeholder typed": {"fr.json", map[string]string{"a": "{y}", "b": ""}, `has the placeholders ["y"]`},
		"no language":       {"no_language_at_all.json", english, "is not named after a language"},
		"no json":           {"fr.yaml", english, "is not named after a language"},
	} {
		if _, err := newCatalogue(c.file, c.texts, english); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The page says which language it is in, and names are never translated.
func TestPageInGerman(t *testing.T) {
	site, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Language", "de-DE")
	w := httptest.NewRecorder()
	site.Page(w, r, 200, ChooseConnector{Client: Client{Name: "Sign in"}, Connectors: []ConnectorLink{{Name: "Password", URL: "/x"}}}, PageOptions{})
	for _, want := range []string{`<html lang="de" dir="ltr">`, "<title>Anmelden", "fortzufahren mit <bdi>Sign in</bdi>", "<bdi>Password</bdi>"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
