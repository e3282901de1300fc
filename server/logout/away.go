package logout

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/countersign/countersign/server/oauth"
)

// idBytes is the size of a departure's id, the state: 128 random bits.
const idBytes = 16

// maxCookie is the most that name and value of a cookie may have together in every
// browser (RFC 6265bis section 5.6: at least 4096 octets).
const maxCookie = 4096

// away is a departure to sign out upstream, as the browser carries it: sealed,
// bound to its id, and too old after Config.Lifetime.
type away struct {
	waiting
	ConnectorID string `json:"c"`
	Kept        []byte `json:"k,omitempty"`
}

// isID reports whether a state could be a departure's id, and nothing else in an
// address.
func isID(state string) bool {
	id, err := base64.RawURLEncoding.Strict().DecodeString(state)
	return err == nil && len(id) == idBytes && len(state) == base64.RawURLEncoding.EncodedLen(idBytes)
}

// awayPath is where a departure's way back goes on.
func (e *Endpoint) awayPath(id string) string { return e.cfg.Path + "/away/" + id }

// cookieName: the path is the departure's own, which __Host- does not allow, so the
// prefix is __Secure- (RFC 6265bis section 4.1.3.1).
func (e *Endpoint) cookieName() string {
	if e.cfg.Secure {
		return "__Secure-countersign_logout"
	}
	return "countersign_logout"
}

// cookie makes the cookie of a departure. It is Lax, so that the browser sends it
// when the upstream sends the person back.
func (e *Endpoint) cookie(id, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: e.cookieName(), Value: value, Path: e.awayPath(id), MaxAge: maxAge,
		HttpOnly: true, Secure: e.cfg.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// carry gives the browser a departure. Where a client's address and state do not
// fit into a cookie, the person is told at the end that they are signed out, and
// goes back by themselves.
func (e *Endpoint) carry(w http.ResponseWriter, id string, a away) error {
	// What the hint said is decided.
	a.Request.HintSubject, a.Request.HintSID = "", ""
	value, err := e.sealAway(id, a)
	if err == nil && len(e.cookieName())+1+len(value) > maxCookie {
		a.Request = oauth.LogoutRequest{}
		value, err = e.sealAway(id, a)
	}
	if err != nil {
		return err
	}
	http.SetCookie(w, e.cookie(id, value, int(e.cfg.Lifetime.Seconds())))
	return nil
}

func (e *Endpoint) sealAway(id string, a away) (string, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("encoding a sign-out: %w", err)
	}
	sealed, err := e.departures.Seal(plain, []byte(id))
	if err != nil {
		return "", fmt.Errorf("sealing a sign-out: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// open reads the departure with that id from its cookie.
func (e *Endpoint) open(r *http.Request, id string) (a away, ok bool) {
	c, err := r.Cookie(e.cookieName())
	if err != nil {
		return a, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return a, false
	}
	plain, err := e.departures.Open(sealed, []byte(id))
	if err != nil || json.Unmarshal(plain, &a) != nil {
		return away{}, false
	}
	return a, e.cfg.Now().Sub(time.Unix(a.Since, 0)) <= e.cfg.Lifetime
}

// drop takes a departure out of the browser.
func (e *Endpoint) drop(w http.ResponseWriter, id string) { http.SetCookie(w, e.cookie(id, "", -1)) }
