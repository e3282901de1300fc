package oauth

import (
	"slices"
	"time"

	"github.com/countersign/countersign/storage"
)

// Step is what has to happen next on the way from a valid authorization request
// to a code.
type Step int

// The steps, in the order in which a person meets them.
const (
	// StepChooseConnector: ask which upstream to use.
	StepChooseConnector Step = iota + 1
	// StepLogin: authenticate at Next.ConnectorID.
	StepLogin
	// StepChooseAccount: ask whether to continue as the signed-in person.
	StepChooseAccount
	// StepConsent: ask whether the client may know what it asks for.
	StepConsent
	// StepIssue: create the grant and answer with a code; where no client waits,
	// there is nothing to do but to go on.
	StepIssue
)

// Situation is everything the next step depends on. It is built anew at each
// visit, so that no visit trusts what an earlier one concluded about a session
// that may have ended or changed hands since.
type Situation struct {
	Request    AuthorizeRequest
	Client     storage.Client
	Connectors []Connector
	// Session is the browser's live session; nil: nobody is signed in.
	Session *storage.Session
	// SessionClients are the clients of Session.LoginClientIDs that still exist.
	SessionClients []storage.Client
	// Consented are the scopes the person has allowed this client before; nil:
	// never asked.
	Consented []string
	// WasConsented says that a consent is remembered, even one to no scope.
	WasConsented bool

	// What happened in this flow. A mark names the session it was made for, and
	// counts for no other.

	// LoginSID: the person authenticated in this flow, which made this session.
	LoginSID string
	// AccountSID: the person chose to continue with this session.
	AccountSID string
	// StaleSID: nobody can say that the person of this session may still come in, but
	// they themselves, at their connector.
	StaleSID string
	// ApprovedSID: the person has just approved, on a page that showed this
	// session.
	ApprovedSID string
	// Own: a page of ours waits, and no client. Any session will do, and there is
	// nothing to ask.
	Own bool

	Now time.Time
}

// NextStep is a Step with what it needs.
type NextStep struct {
	Step Step
	// ConnectorID is where to authenticate, for StepLogin.
	ConnectorID string
}

// Next decides the next step. The error is an *AuthorizeError for the client.
func Next(s Situation, p Policy) (NextStep, error) {
	if s.Own && s.Session != nil {
		return NextStep{Step: StepIssue}, nil
	}
	if reason := s.needsLogin(p); reason != "" {
		return s.login(reason, p)
	}
	if s.Request.HasPrompt(PromptSelectAccount) && !s.marked(s.AccountSID) && !s.justLoggedIn() {
		return NextStep{Step: StepChooseAccount}, nil
	}
	if s.needsConsent(p) {
		if s.Request.HasPrompt(PromptNone) {
			return NextStep{}, s.Request.Refuse(ConsentRequired, "the person has not allowed this yet")
		}
		return NextStep{Step: StepConsent}, nil
	}
	return NextStep{Step: StepIssue}, nil
}

// marked reports whether a mark was made for the session that is here now.
func (s Situation) marked(sid string) bool {
	return s.Session != nil && sid != "" && sid == s.Session.SID
}

func (s Situation) justLoggedIn() bool { return s.marked(s.LoginSID) }

// needsLogin says why the person must authenticate, or "". Who is signed in, and
// from where, is looked at first: an authentication of this very flow excuses an
// old or unshared session, never the wrong person or the wrong connector.
func (s Situation) needsLogin(p Policy) string {
	switch {
	case s.Session == nil:
		return "nobody is signed in"
	case !allowed(s.Client, s.Session.ConnectorID) || !configured(s.Connectors, s.Session.ConnectorID):
		return "the sign-in does not come from a connector allowed for this client"
	case s.Request.ConnectorID != "" && s.Request.ConnectorID != s.Session.ConnectorID:
		return "the sign-in does not come from the connector asked for"
	case s.Request.HintSubject != "" && s.Request.HintSubject != s.subject():
		return "somebody else is signed in than id_token_hint says"
	case s.marked(s.StaleSID):
		return "the connector has to see the person again"
	case s.justLoggedIn():
		return ""
	case !s.shared(p):
		return "the sign-in is not shared with this client"
	case s.Request.HasPrompt(PromptLogin):
		return "a fresh sign-in was asked for"
	case s.tooOld():
		return "the sign-in is older than max_age"
	}
	return ""
}

func (s Situation) subject() string { return Subject(s.Session.UserID, s.Session.ConnectorID) }

// tooOld: OpenID Connect Core 1.0 section 3.1.2.1, max_age. The client will see
// auth_time in whole seconds, so it counts as it will be seen.
func (s Situation) tooOld() bool {
	if s.Request.MaxAge == nil {
		return false
	}
	elapsed := s.Now.Sub(s.Session.AuthTime.Truncate(time.Second))
	return *s.Request.MaxAge == 0 || elapsed > *s.Request.MaxAge
}

// shared decides single sign-on: the client is one where the person
// authenticated, or one that such a client shares with. Sharing is never
// transitive: only places of real authentication count.
func (s Situation) shared(p Policy) bool {
	if slices.Contains(s.Session.LoginClientIDs, s.Client.ID) {
		return true
	}
	return slices.ContainsFunc(s.SessionClients, func(c storage.Client) bool {
		if c.SSOSharedWith == nil {
			return p.SSOSharedWithAll
		}
		return slices.Contains(c.SSOSharedWith, s.Client.ID) || slices.Contains(c.SSOSharedWith, "*")
	})
}

func (s Situation) login(reason string, p Policy) (NextStep, error) {
	if s.Request.HasPrompt(PromptNone) {
		return NextStep{}, s.Request.Refuse(LoginRequired, reason)
	}
	return s.connector(p)
}

// CheckHint refuses to go on when the person who has just authenticated is not
// the one that id_token_hint names (OpenID Connect Core 1.0 section 3.1.2.1).
func CheckHint(r AuthorizeRequest, userID, connectorID string) error {
	if r.HintSubject == "" || r.HintSubject == Subject(userID, connectorID) {
		return nil
	}
	return r.Refuse(LoginRequired, "somebody else signed in than id_token_hint says")
}

// needsConsent: OpenID Connect Core 1.0 section 3.1.2.4.
//
// A consent is remembered for public clients too. RFC 8252 section 8.6 would
// rather ask again where another program on the person's machine can pose as the
// client; but a page that is pressed away daily stops no such program, and being
// asked for nothing teaches people not to read.
func (s Situation) needsConsent(p Policy) bool {
	if s.marked(s.ApprovedSID) {
		return false
	}
	if s.Request.HasPrompt(PromptConsent) {
		return true
	}
	skip := p.SkipApproval
	if s.Client.SkipApproval != nil {
		skip = *s.Client.SkipApproval
	}
	return !skip && !(s.WasConsented && subset(s.Request.Scopes, s.Consented))
}
