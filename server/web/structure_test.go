package web_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/countersign/countersign/server/web"
)

// Every page has one heading of the first level in its one <main>, one <header>,
// a language, a title, and a label for each field.
func TestStructure(t *testing.T) {
	site := newSite(t, web.Config{BasePath: "/dex"})
	for _, p := range web.Examples() {
		root := document(t, show(t, site, p, web.PageOptions{RequestID: "r"}))
		for tag, want := range map[string]int{"html": 1, "title": 1, "header": 1, "main": 1, "h1": 1} {
			if got := len(elements(root, tag)); got != want {
				t.Errorf("%T has %d <%s>", p, got, tag)
			}
		}
		if h1 := elements(elements(root, "main")[0], "h1"); len(h1) != 1 || content(h1[0]) == "" {
			t.Errorf("%T has no heading in its main part", p)
		}
		if title := content(elements(root, "title")[0]); len(title) < len("x · Countersign") {
			t.Errorf("%T has the title %q", p, title)
		}
		labels := map[string]bool{}
		for _, l := range elements(root, "label") {
			id, _ := attr(l, "for")
			labels[id] = true
		}
		for _, field := range elements(root, "input") {
			id, _ := attr(field, "id")
			if kind, _ := attr(field, "type"); kind != "hidden" && !labels[id] {
				t.Errorf("%T: the field %q has no label", p, id)
			}
		}
		for _, n := range slices.Collect(root.Descendants()) {
			if _, styled := attr(n, "style"); styled || n.Data == "style" {
				t.Errorf("%T has a style of its own, which the policy forbids", p)
			}
		}
	}
}

// form is what a page would post: where to, and each field with its value.
type form struct {
	Method, Action string
	Fields         map[string]string
	Buttons        []string
}

func forms(root *html.Node) []form {
	var all []form
	for _, n := range elements(root, "form") {
		f := form{Fields: map[string]string{}}
		f.Method, _ = attr(n, "method")
		f.Action, _ = attr(n, "action")
		for _, field := range elements(n, "input") {
			name, _ := attr(field, "name")
			f.Fields[name], _ = attr(field, "value")
		}
		for _, b := range elements(n, "button") {
			name, _ := attr(b, "name")
			value, _ := attr(b, "value")
			action, _ := attr(b, "formaction")
			f.Buttons = append(f.Buttons, name+"="+value+action)
		}
		all = append(all, f)
	}
	return all
}

func TestForms(t *testing.T) {
	site := newSite(t, web.Config{})
	ada := web.Person{Name: "Ada"}
	for _, c := range []struct {
		page web.Page
		want []form
	}{
		{web.Password{Action: "/flow/1/local?a=b&c=d", Username: "ada"},
			[]form{{"post", "/flow/1/local?a=b&c=d", map[string]string{"login": "ada", "password": ""}, []string{"="}}}},
		{web.Password{Action: "/l", OfferRemember: true},
			[]form{{"post", "/l", map[string]string{"login": "", "password": "", "remember": "on"}, []string{"="}}}},
		{web.ChooseAccount{Person: ada, Action: "/c", Subject: "s"},
			[]form{{"post", "/c", map[string]string{"subject": "s"}, []string{"account=continue", "account=other"}}}},
		{web.Consent{Action: "/a", Subject: "s"},
			[]form{{"post", "/a", map[string]string{"subject": "s"}, []string{"approval=approve", "approval=deny"}}}},
		{web.SignOut{Person: ada, Action: "/logout", Session: "s", Request: "r"},
			[]form{{"post", "/logout", map[string]string{"session": "s", "request": "r"}, []string{"="}}}},
		{web.Home{Person: &ada, SignOutAction: "/logout"},
			[]form{{"post", "/logout", map[string]string{}, []string{"="}}}},
		{web.FormPost{Action: "https://app.example/cb?x=1", Fields: []web.Field{{Name: "state", Value: `a"b&amp;<c>+ é` + "\t"}, {Name: "submit", Value: "x"}}},
			[]form{{"post", "https://app.example/cb?x=1", map[string]string{"state": `a"b&amp;<c>+ é` + "\t", "submit": "x"}, []string{"="}}}},
		{web.Home{}, nil},
		{web.ChooseConnector{Connectors: []web.ConnectorLink{{Name: "a", URL: "/a"}}}, nil},
	} {
		if diff := cmp.Diff(c.want, forms(document(t, show(t, site, c.page, web.PageOptions{})))); diff != "" {
			t.Errorf("%T: %s", c.page, diff)
		}
	}
}

// The error text is tied to the fields, the focus is where the person goes on, and
// the password is never sent back.
func TestPasswordErrors(t *testing.T) {
	site := newSite(t, web.Config{})
	for name, c := range map[string]struct {
		page    web.Password
		alert   string
		invalid string
		focus   string
	}{
		"first":    {web.Password{}, "", "", "login"},
		"hint":     {web.Password{Username: "ada"}, "", "", "password"},
		"invalid":  {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginInvalid}}, "The user name or the password is wrong.", "true", "password"},
		"too many": {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginTooMany, Wait: 61500 * time.Millisecond}}, "Too many attempts. Try again in 62 s.", "", "password"},
		"longer":   {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginTooMany, Wait: 4*time.Minute + 1}}, "Too many attempts. Try again in 5 min.", "", "password"},
		"now":      {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginTooMany}}, "Too many attempts. Try again in 1 s.", "", "password"},
		"upstream": {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginUpstreamFailed}}, "Your password could not be checked right now. Try again in a few minutes.", "", "password"},
		"denied":   {web.Password{Username: "ada", Error: web.LoginError{Kind: web.LoginDenied, Message: "Locked & gone."}}, "You cannot sign in.Locked & gone.", "", "password"},
	} {
		t.Run(name, func(t *testing.T) {
			c.page.Action = "/x"
			root := document(t, show(t, site, c.page, web.PageOptions{}))
			for _, field := range elements(root, "input") {
				id, _ := attr(field, "id")
				_, focused := attr(field, "autofocus")
				if focused != (id == c.focus) {
					t.Errorf("focus of %s: %t", id, focused)
				}
				if invalid, _ := attr(field, "aria-invalid"); invalid != c.invalid {
					t.Errorf("aria-invalid of %s: %q", id, invalid)
				}
				if by, _ := attr(field, "aria-describedby"); (by == "alert") != (c.alert != "") {
					t.Errorf("aria-describedby of %s: %q", id, by)
				}
			}
			var alert string
			for n := range root.Descendants() {
				if role, _ := attr(n, "role"); role == "alert" {
					id, _ := attr(n, "id")
					if alert = content(n); id != "alert" {
						t.Errorf("the alert has the id %q", id)
					}
				}
			}
			if alert != c.alert {
				t.Errorf("alert %q, want %q", alert, c.alert)
			}
		})
	}
}

// What password managers and phones go by.
func TestPasswordFields(t *testing.T) {
	site := newSite(t, web.Config{})
	root := document(t, show(t, site, web.Password{Action: "/x", Prompt: "Email address"}, web.PageOptions{}))
	fields := elements(root, "input")
	for i, want := range []map[string]string{
		{"name": "login", "type": "text", "autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"},
		{"name": "password", "type": "password", "autocomplete": "current-password"},
	} {
		for name, value := range want {
			if got, _ := attr(fields[i], name); got != value {
				t.Errorf("%s: %s=%q", want["name"], name, got)
			}
		}
		if _, has := attr(fields[i], "required"); !has {
			t.Errorf("%s is not required", want["name"])
		}
	}
	if got := content(elements(root, "label")[0]); got != "Email address" {
		t.Errorf("the prompt is %q", got)
	}
}

func TestConsentSentences(t *testing.T) {
	site := newSite(t, web.Config{})
	root := document(t, show(t, site, web.Consent{Client: web.Client{ID: "c"}, Scopes: []string{
		"openid", "email", "audience:server:client_id:kube<1>", "write:all"}}, web.PageOptions{}))
	var got []string
	for _, item := range elements(root, "li") {
		got = append(got, content(item))
	}
	want := []string{"know who you are", "see your e-mail address", "sign you in to kube<1> too", "use the permission write:all"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownKindsAreRefused(t *testing.T) {
	site := newSite(t, web.Config{})
	for _, p := range []web.Page{web.Error{Kind: 99}, web.Password{Error: web.LoginError{Kind: 99}}} {
		if got := show(t, site, p, web.PageOptions{}).StatusCode; got != 500 {
			t.Errorf("%T: status %d", p, got)
		}
	}
}

func TestPersonTitles(t *testing.T) {
	for _, c := range []struct {
		person                   web.Person
		title, subtitle, initial string
	}{
		{web.Person{Name: "Ada Lovelace", Email: "ada@example.com"}, "Ada Lovelace", "ada@example.com", "A"},
		{web.Person{Email: "ada@example.com"}, "ada@example.com", "", "A"},
		{web.Person{Name: " ", Email: "ada@example.com"}, "ada@example.com", "", "A"},
		{web.Person{Name: "ärzte"}, "ärzte", "", "Ä"},
		{web.Person{Name: "007"}, "007", "", ""},
		{web.Person{Name: "\xff"}, "\xff", "", ""},
		{web.Person{}, "", "", ""},
	} {
		if c.person.Title() != c.title || c.person.Subtitle() != c.subtitle || c.person.Initial() != c.initial {
			t.Errorf("%+v: %q, %q, %q", c.person, c.person.Title(), c.person.Subtitle(), c.person.Initial())
		}
	}
}

// Another way to sign in is spoken of where a link leads to one.
func TestAnotherWay(t *testing.T) {
	site := newSite(t, web.Config{})
	failed := web.LoginError{Kind: web.LoginUpstreamFailed}
	for _, p := range []web.Page{
		web.Error{Kind: web.ErrorUpstream},
		web.SignInFailed{Connector: "GitHub", Error: failed, RetryURL: "/r"},
		web.Password{Action: "/l", Error: failed},
		web.SignInFailed{Connector: "GitHub", Error: failed, RetryURL: "/r", BackURL: "/b"},
		web.Password{Action: "/l", Error: failed, BackURL: "/b"},
	} {
		for _, locale := range []string{"en", "de"} {
			root := document(t, show(t, site, p, web.PageOptions{Locales: []string{locale}}))
			leads := slices.ContainsFunc(elements(root, "a"), func(a *html.Node) bool { href, _ := attr(a, "href"); return href == "/b" })
			text := content(elements(root, "main")[0])
			if speaks := strings.Contains(text, "another way") || strings.Contains(text, "ander"); speaks != leads {
				t.Errorf("%+v in %s: leads to another way %v, and says: %s", p, locale, leads, text)
			}
		}
	}
}

// Where the log says why, the page shows under which id.
func TestRequestIDShown(t *testing.T) {
	site := newSite(t, web.Config{})
	for _, c := range []struct {
		page web.Page
		want bool
	}{
		{web.Error{}, true},
		{web.Error{Kind: web.ErrorNotFound}, true},
		{web.Finished{}, true},
		{web.SignInFailed{Error: web.LoginError{Kind: web.LoginUpstreamFailed}}, true},
		{web.Password{Error: web.LoginError{Kind: web.LoginUpstreamFailed}}, true},
		{web.Password{Error: web.LoginError{Kind: web.LoginDenied}}, true},
		{web.Password{Error: web.LoginError{Kind: web.LoginInvalid}}, false},
		{web.Password{}, false},
		{web.Home{}, false},
	} {
		root := document(t, show(t, site, c.page, web.PageOptions{RequestID: "01J9Z3K8QX"}))
		if got := strings.Contains(content(root), "Request 01J9Z3K8QX"); got != c.want {
			t.Errorf("%T %+v shows the id of its request: %v", c.page, c.page, got)
		}
	}
}
