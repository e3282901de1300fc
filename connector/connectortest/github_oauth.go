package connectortest

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"
)

// page is where people choose whether they want to.
var page = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Authorize application</title><link rel="icon" href="data:,">
<h1>Authorize {{.Client}}</h1>
<form method="post">{{range .Logins}}<button name="login" value="{{.}}">Authorize as {{.}}</button>{{end}}
<button name="cancel" value="1">Cancel</button></form></html>`))

// authorize is the authorization endpoint: a GET shows a page, its POST goes back.
func (g *GitHub) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != GitHubClientID {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	g.mu.Lock()
	callback := g.callback
	g.mu.Unlock()
	back, err := url.Parse(callback)
	if err != nil || q.Get("redirect_uri") != "" && q.Get("redirect_uri") != callback {
		g.back(w, r, back, "error", "redirect_uri_mismatch", "error_description", "The redirect_uri MUST match the registered callback URL for this application.")
		return
	}
	g.mu.Lock()
	var logins []string
	for login := range g.people {
		logins = append(logins, login)
	}
	g.mu.Unlock()
	sort.Strings(logins)
	login := r.PostForm.Get("login")
	switch {
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, map[string]any{"Client": q.Get("client_id"), "Logins": logins})
	case slices.Contains(logins, login):
		code := word("")
		g.mu.Lock()
		g.codes[code] = grant{login: login, challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri")}
		g.mu.Unlock()
		g.back(w, r, back, "code", code)
	default:
		g.back(w, r, back, "error", "access_denied", "error_description", "The user has denied your application access.")
	}
}

func (g *GitHub) back(w http.ResponseWriter, r *http.Request, to *url.URL, pairs ...string) {
	q := url.Values{"state": {r.URL.Query().Get("state")}}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	u := *to
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusFound)
}

// accessToken is the token endpoint. Its errors come with status 200, and its answers
// are a form unless JSON is asked for.
func (g *GitHub) accessToken(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	document := g.redeem(r.PostForm)
	g.mu.Unlock()
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		answer(w, http.StatusOK, document)
		return
	}
	form := url.Values{}
	for name, value := range document {
		if text, ok := value.(string); ok {
			form.Set(name, text)
		}
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	_, _ = w.Write([]byte(form.Encode()))
}

func (g *GitHub) redeem(form url.Values) map[string]any {
	wrong := func(code, description string) map[string]any {
		return map[string]any{"error": code, "error_description": description, "error_uri": "https://docs.github.com/apps"}
	}
	if form.Get("client_id") != GitHubClientID || form.Get("client_secret") != GitHubClientSecret {
		return wrong("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
	}
	if form.Get("grant_type") == "refresh_token" {
		old := g.refresh[form.Get("refresh_token")]
		if old == nil {
			return wrong("bad_refresh_token", "The refresh token passed is incorrect or expired.")
		}
		delete(g.refresh, old.refresh)
		delete(g.tokens, old.access)
		return g.issue(old.login)
	}
	code, found := g.codes[form.Get("code")]
	delete(g.codes, form.Get("code"))
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if !found || code.challenge != "" && code.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return wrong("bad_verification_code", "The code passed is incorrect or expired.")
	}
	if form.Get("redirect_uri") != code.redirect {
		return wrong("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.")
	}
	return g.issue(code.login)
}

const (
	accessLifetime  = 28800    // eight hours
	refreshLifetime = 15897600 // six months
)

func (g *GitHub) issue(login string) map[string]any {
	t := &token{login: login, access: word("gho_")}
	document := map[string]any{"scope": "read:org,user:email", "token_type": "bearer"}
	if g.expiring {
		t.access, t.refresh = word("ghu_"), word("ghr_")
		t.expires = g.now().Add(accessLifetime * time.Second)
		g.refresh[t.refresh] = t
		document["scope"] = ""
		document["expires_in"], document["refresh_token"], document["refresh_token_expires_in"] = accessLifetime, t.refresh, refreshLifetime
	}
	g.tokens[t.access] = t
	document["access_token"] = t.access
	return document
}
