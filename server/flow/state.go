package flow

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/countersign/countersign/server/oauth"
)

// maxCookie is the most that name and value of a cookie may have together in
// every browser (RFC 6265bis section 5.6: at least 4096 octets).
const maxCookie = 4096

// errNoFlow: the browser does not carry the flow it asks for: it was finished,
// has expired, or was begun in another browser.
var errNoFlow = errors.New("flow: no such flow in this browser")

// state is a sign-in in progress, as the browser carries it: sealed, bound to
// the flow's id, and too old after Config.Lifetime.
type state struct {
	Request   oauth.AuthorizeRequest `json:"q"`
	StartedAt int64                  `json:"b"` // seconds since 1970
	// LoginSID, AccountSID and StaleSID: see oauth.Situation.
	LoginSID   string `json:"l,omitempty"`
	AccountSID string `json:"k,omitempty"`
	StaleSID   string `json:"z,omitempty"`
	// Another: the account that the upstream would take the person for is not the one
	// to go on with. They chose so, or it was not let in.
	Another bool `json:"o,omitempty"`
	// Own: the person is on the way to the account page, and Request is empty.
	Own bool `json:"w,omitempty"`
	// Away is where the browser was sent to authenticate, and has not come back
	// from.
	Away *away `json:"a,omitempty"`
	// EndedAt is when the flow was answered; see again. Milliseconds since 1970.
	EndedAt int64 `json:"e,omitempty"`
}

// markRoom is what a mark adds to the cookie: a SID with its JSON, in base64url.
const markRoom = 44

// anotherRoom is what Another adds.
const anotherRoom = 12

// room is kept for the marks to come, so that a request which fits in the
// beginning still does when the person has signed in.
func (st state) room() (n int) {
	for _, mark := range []string{st.LoginSID, st.AccountSID, st.StaleSID} {
		if mark == "" {
			n += markRoom
		}
	}
	if !st.Another {
		n += anotherRoom
	}
	if st.Away == nil {
		n += awayRoom
	}
	return n
}

// flowIDBytes is the size of a flow's id: 128 random bits.
const flowIDBytes = 16

// again is how long after its end a flow still takes a form, and answers with a
// code of its own. A browser forgets the answer to a form that is submitted once
// more before it shows: a double click on the last button would lose the code
// otherwise, and be told that the sign-in is over.
const again = 5 * time.Second

// newID makes the id of a flow, base64url. It is in addresses
// and gives nobody anything without the cookie.
func (f *Flow) newID() (string, error) {
	id := make([]byte, flowIDBytes)
	if _, err := io.ReadFull(f.cfg.Random, id); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(id), nil
}

// path is the address of a flow's step under the issuer.
func (f *Flow) path(id, step string) string {
	p := f.cfg.BasePath + "/flow/" + id
	if step != "" {
		p += "/" + step
	}
	return p
}

// cookieName: the path is the flow's own, which __Host- does not allow, so the
// prefix is __Secure- (RFC 6265bis section 4.1.3.1).
func (f *Flow) cookieName() string {
	if f.cfg.Secure {
		return "__Secure-countersign_flow"
	}
	return "countersign_flow"
}

// cookie makes the cookie of a flow. It is Lax, so that the browser sends it when
// an upstream sends the person back.
func (f *Flow) cookie(id, value string, age time.Duration) *http.Cookie {
	return &http.Cookie{
		Name:     f.cookieName(),
		Value:    value,
		Path:     f.path(id, ""),
		MaxAge:   int(age.Seconds()),
		HttpOnly: true,
		Secure:   f.cfg.Secure,
		SameSite: http.SameSiteLaxMode,
	}
}

// carry gives the browser the state of a flow. A request that does not fit into
// a cookie is the client's error.
func (f *Flow) carry(w http.ResponseWriter, id string, st state, age time.Duration) error {
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false) // it would make six bytes of each <, > and &
	if err := enc.Encode(st); err != nil {
		return fmt.Errorf("encoding a flow: %w", err)
	}
	sealed, err := f.box.Seal(plain.Bytes(), []byte(id))
	if err != nil {
		return fmt.Errorf("sealing a flow: %w", err)
	}
	value := base64.RawURLEncoding.EncodeToString(sealed)
	if len(f.cookieName())+1+len(value)+st.room() > maxCookie {
		return st.Request.Refuse(oauth.InvalidRequest,
			"the request is too large: state, nonce, scope and redirect_uri together must stay below about 2.2 kB")
	}
	http.SetCookie(w, f.cookie(id, value, age))
	return nil
}

// end ends a flow in the browser: at once, or, when a form has led here, in a
// moment.
func (f *Flow) end(w http.ResponseWriter, r *http.Request, v *visit) {
	v.st.EndedAt = f.now().UnixMilli()
	if r.Method != http.MethodPost || f.carry(w, v.id, v.st, again) != nil {
		f.drop(w, v.id)
	}
}

// over reports whether a flow takes no more of such requests.
func (f *Flow) over(st state, method string) bool {
	if st.EndedAt == 0 {
		return f.now().Sub(time.Unix(st.StartedAt, 0)) > f.cfg.Lifetime
	}
	return method != http.MethodPost || f.now().Sub(time.UnixMilli(st.EndedAt)) > again
}

// drop takes a flow out of the browser.
func (f *Flow) drop(w http.ResponseWriter, id string) {
	c := f.cookie(id, "", 0)
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// open reads the flow that the request's path names from its cookie, or returns
// errNoFlow.
func (f *Flow) open(r *http.Request) (id string, st state, err error) {
	id = r.PathValue("flow")
	c, err := r.Cookie(f.cookieName())
	if err != nil {
		return "", state{}, fmt.Errorf("%w: it sent no cookie", errNoFlow)
	}
	st, err = f.unseal(id, c.Value)
	if err == nil && f.over(st, r.Method) {
		err = fmt.Errorf("%w: it is over", errNoFlow)
	}
	return id, st, err
}

func (f *Flow) unseal(id, value string) (st state, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return state{}, errNoFlow
	}
	plain, err := f.box.Open(sealed, []byte(id))
	if err != nil {
		return state{}, errNoFlow
	}
	if err := json.Unmarshal(plain, &st); err != nil {
		return state{}, errNoFlow
	}
	return st, nil
}
