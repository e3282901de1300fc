package session

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"github.com/countersign/countersign/storage"
)

// idBytes is the size of a session id: 256 random bits.
const idBytes = 32

// cookieName has the __Host- prefix where the browser can enforce what it means:
// set by this host, over https, for all paths.
func (b *Browsers) cookieName() string {
	if b.cfg.Secure {
		return "__Host-" + b.cfg.CookieName
	}
	return b.cfg.CookieName
}

// Presented returns the hash of the session id that the browser sent, dead or
// alive; zero when it sent none that could be ours.
func (b *Browsers) Presented(r *http.Request) [32]byte {
	c, err := r.Cookie(b.cookieName())
	if err != nil {
		return [32]byte{}
	}
	if len(c.Value) != base64.RawURLEncoding.EncodedLen(idBytes) {
		return [32]byte{}
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(c.Value)
	if err != nil || len(id) != idBytes {
		return [32]byte{}
	}
	return sha256.Sum256(id)
}

// SetCookie gives the browser the id of its new session. Without "keep me signed
// in" the cookie ends with the browser.
func (b *Browsers) SetCookie(w http.ResponseWriter, s storage.Session, cookieID string) {
	c := b.cookie(cookieID)
	if s.Remember {
		c.MaxAge = int(b.cfg.RememberLifetime.Seconds())
	}
	http.SetCookie(w, c)
}

func (b *Browsers) clearCookie(w http.ResponseWriter) {
	c := b.cookie("")
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// cookie is Lax: the browser sends it when a relying party sends the person here
// (a top-level navigation), and not with a foreign site's POST or frame.
func (b *Browsers) cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name:     b.cookieName(),
		Value:    value,
		Path:     "/",
		HttpOnly: true,
		Secure:   b.cfg.Secure,
		SameSite: http.SameSiteLaxMode,
	}
}
