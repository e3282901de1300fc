package oauth

import (
	"encoding/json"
	"net/url"
	"slices"

	"github.com/countersign/countersign/storage"
)

// LogoutHint is what a verified id_token_hint says (OpenID Connect RP-Initiated
// Logout 1.0 section 2). The token may have expired.
type LogoutHint struct {
	// ClientID is the client that the id_token was issued to.
	ClientID string
	Subject  string
	SID      string
}

// ParseLogoutHint reads the payload of an id_token_hint whose signature and typ
// were right: it must be an id_token of this issuer. It returns nil when it is
// not.
func ParseLogoutHint(p Policy, payload []byte) *LogoutHint {
	var c struct {
		Issuer          string   `json:"iss"`
		Subject         string   `json:"sub"`
		Audience        Audience `json:"aud"`
		AuthorizedParty string   `json:"azp"`
		SID             string   `json:"sid"`
	}
	if json.Unmarshal(payload, &c) != nil || c.Issuer != p.Issuer || c.Subject == "" {
		return nil
	}
	h := &LogoutHint{ClientID: c.AuthorizedParty, Subject: c.Subject, SID: c.SID}
	// With more than one audience there is an azp (see NewIDToken).
	if h.ClientID == "" && len(c.Audience) == 1 {
		h.ClientID = c.Audience[0]
	}
	if h.ClientID == "" {
		return nil
	}
	return h
}

// LogoutRequest is a valid logout request: whatever it leads to was registered
// for the client it names.
type LogoutRequest struct {
	// ClientID is the client that asks; "" when it does not say.
	ClientID string `json:"c,omitempty"`
	// RedirectURI is where the person goes afterwards; "" is nowhere.
	RedirectURI string `json:"r,omitempty"`
	State       string `json:"s,omitempty"`
	// HintSubject and HintSID are those of the id_token_hint.
	HintSubject string   `json:"j,omitempty"`
	HintSID     string   `json:"i,omitempty"`
	UILocales   []string `json:"u,omitempty"`
}

// LogoutLookups is what the shell loads for a logout request.
type LogoutLookups struct {
	// Hint is the id_token_hint; nil when there is none or it is not right.
	Hint *LogoutHint
	// Client is the client of LogoutClientID; nil when there is none.
	Client *storage.Client
}

// LogoutClientID returns the client_id to look up, or "": the parameter, or else
// that of the hint.
func LogoutClientID(form url.Values, hint *LogoutHint) string {
	if id := ClientIDOf(form); id != "" || hint == nil {
		return id
	}
	return hint.ClientID
}

// logoutParameters are those of OpenID Connect RP-Initiated Logout 1.0 section 2.
var logoutParameters = []string{
	ParamIDTokenHint, "logout_hint", ParamClientID, "post_logout_redirect_uri", "state", "ui_locales",
}

// IsLogoutRequest reports whether a form holds anything of a logout request. One
// without parameters is a request, too, and says nothing of who sends it.
func IsLogoutRequest(form url.Values) bool {
	return slices.ContainsFunc(logoutParameters, form.Has)
}

// ParseLogout checks a logout request. Its errors are shown on a page: a request
// that is wrong in anything leads nowhere.
func ParseLogout(form url.Values, l LogoutLookups) (r LogoutRequest, err error) {
	p := parameters(form)
	if err := p.check(); err != nil {
		return r, err
	}
	id, uri := p.get(ParamClientID), p.get("post_logout_redirect_uri")
	switch {
	case p.get(ParamIDTokenHint) != "" && l.Hint == nil:
		return r, refuse(InvalidRequest, "id_token_hint is not an id_token of this issuer, or too old to be verified: leave it out")
	case id != "" && l.Hint != nil && l.Hint.ClientID != id:
		return r, refuse(InvalidRequest, "id_token_hint was issued to another client than client_id")
	case id != "" && l.Client == nil:
		return r, refuse(InvalidClient, "client_id is unknown: no such client is registered here")
	case uri != "" && l.Client == nil:
		// Nobody says whose the address is, so nobody vouches for it.
		return r, refuse(InvalidRequest, "post_logout_redirect_uri needs an id_token_hint or a client_id")
	case uri != "" && !MatchPostLogoutRedirectURI(*l.Client, uri):
		return r, refuse(InvalidRequest, "post_logout_redirect_uri is not registered for this client: register it exactly as it is sent")
	case len(p.get("state")) > maxLogoutState:
		return r, refuse(InvalidRequest, "state is too long")
	}
	if l.Client != nil {
		r.ClientID = l.Client.ID
	}
	if uri != "" {
		r.RedirectURI, r.State = uri, p.get("state")
	}
	if l.Hint != nil {
		r.HintSubject, r.HintSID = l.Hint.Subject, l.Hint.SID
	}
	// logout_hint is tolerated: the page shows who is signed in.
	r.UILocales = words(bounded(p.get("ui_locales"), 128))
	return r, nil
}

// maxLogoutState bounds what is carried of a request.
const maxLogoutState = 2048

// MatchPostLogoutRedirectURI reports whether people may be sent to uri after
// signing out of a client: it is one of those registered, letter by letter. There
// is no exception for loopback ports.
func MatchPostLogoutRedirectURI(client storage.Client, uri string) bool {
	return uri != "" && len(uri) <= MaxRedirectURI && slices.Contains(client.PostLogoutRedirectURIs, uri)
}

// LogoutStep is what a logout request leads to.
type LogoutStep int

const (
	// LogoutDone: nobody is signed in.
	LogoutDone LogoutStep = iota + 1
	// LogoutConfirm: ask the person.
	LogoutConfirm
	// LogoutEnd: end the session.
	LogoutEnd
)

// NextLogout decides about a request in a browser with this session (nil: nobody
// is signed in). Anybody can send a browser here, so the person is asked, unless
// the hint belongs to this very session and person (OpenID Connect RP-Initiated
// Logout 1.0 section 2).
// confirmedSID is the session that the person has just confirmed for.
func NextLogout(r LogoutRequest, s *storage.Session, confirmedSID string) LogoutStep {
	switch {
	case s == nil:
		return LogoutDone
	case s.SID == "":
		return LogoutConfirm
	case confirmedSID == s.SID:
		return LogoutEnd
	case r.HintSID == s.SID && r.HintSubject == Subject(s.UserID, s.ConnectorID):
		return LogoutEnd
	}
	return LogoutConfirm
}

// Location is where the person goes afterwards; "" is nowhere.
func (r LogoutRequest) Location() string {
	if r.RedirectURI == "" || r.State == "" {
		return r.RedirectURI
	}
	return ResponseTarget{RedirectURI: r.RedirectURI}.Location(url.Values{"state": {r.State}})
}
