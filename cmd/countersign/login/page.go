package login

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

const style = `:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}` +
	`main{max-width:32rem;margin:15vh auto;padding:0 1.5rem}h1{font-size:1.5rem}p{overflow-wrap:anywhere}`

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>` + style + `</style>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
</main>
</html>
`))

// policy lets the page have its style and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// writePage answers the browser. The connection is closed after it, so that the
// command can end.
func writePage(w http.ResponseWriter, status int, title, text string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer") // the address holds the code
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The browser may be gone; the terminal says the same.
	_ = page.Execute(w, struct{ Title, Text string }{title, text})
}
