package request

import (
	"log/slog"
	"net/url"
)

// logged are the parameters whose values help an operator and are of no use to a
// reader of the log. Nothing else is ever written: not code, token, password,
// secret, state or nonce, whatever the spelling.
var logged = []string{
	"client_id", "response_type", "response_mode", "prompt", "grant_type",
	"scope", "connector", "connector_id",
}

// addQuery takes the allowed parameters of a query. What does not parse is
// simply not there.
func (r *record) addQuery(u *url.URL) {
	if u.RawQuery != "" {
		r.addForm(u.Query())
	}
}

// addForm takes the allowed parameters of a form that its handler has parsed.
// The first value of each is enough; duplicates are refused elsewhere.
func (r *record) addForm(form url.Values) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range logged {
		if values := form[name]; len(values) > 0 && !r.has(name) {
			r.parameters = append(r.parameters, slog.String(name, Bounded(values[0], maxParameter)))
		}
	}
}

// has reports whether a parameter is already in the record.
func (r *record) has(name string) bool {
	for _, a := range r.parameters {
		if a.Key == name {
			return true
		}
	}
	return false
}
