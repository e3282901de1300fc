package audit

// Actor is who ended something.
type Actor string

// The actors.
const (
	// ByClient: the relying party asked for it.
	ByClient Actor = "client"
	// ByPerson: the person did it, on a page of ours.
	ByPerson Actor = "person"
	// ByAdministrator: through the administrators' API.
	ByAdministrator Actor = "administrator"
	// ByConnector: the upstream said so.
	ByConnector Actor = "connector"
	// ByConfiguration: it does not allow it any more.
	ByConfiguration Actor = "configuration"
	// ByLogin: a sign-in as somebody else in the same browser.
	ByLogin Actor = "login"
)

// GrantRevoked is `grant.revoked`: one login has ended before its time, and every
// token of it. (Where reuse ends it, code.reused or token.reused says so instead.)
// connector_id, user_id, client_id, grant_id, sid, by, reason.
type GrantRevoked struct {
	Grant  Grant
	By     Actor
	Reason string
}

func (GrantRevoked) name() string { return "grant.revoked" }

func (e GrantRevoked) describe(f *fields) {
	e.Grant.describe(f)
	f.text("by", string(e.By))
	f.text("reason", e.Reason)
}

// Selector says which logins, or sessions, were meant. What is empty was not asked for; all
// empty: all there are.
type Selector struct {
	Person   Person
	ClientID string
	SID      string
}

func (s Selector) describe(f *fields) {
	s.Person.describe(f)
	f.text("client_id", s.ClientID)
	f.text("sid", s.SID)
}

// GrantsRevoked is `grants.revoked`: logins have ended before their time. The
// fields that selected them (connector_id, user_id, client_id, sid), grants (how
// many), by, reason. It is written also when there were none: somebody wanted
// them ended.
type GrantsRevoked struct {
	Of     Selector
	Grants int
	By     Actor
	Reason string
}

func (GrantsRevoked) name() string { return "grants.revoked" }

func (e GrantsRevoked) describe(f *fields) {
	e.Of.describe(f)
	f.number("grants", int64(e.Grants))
	f.text("by", string(e.By))
	f.text("reason", e.Reason)
}

// IdentityRefused is `identity.refused`: a connector that was asked again about a
// person says that they are gone or may not come in: they were signed out of all
// browsers, and their logins were revoked. connector_id, user_id, grants and
// sessions (how many), reason.
type IdentityRefused struct {
	Person   Person
	Grants   int
	Sessions int
	Reason   string
}

func (IdentityRefused) name() string { return "identity.refused" }

func (e IdentityRefused) describe(f *fields) {
	e.Person.describe(f)
	f.number("grants", int64(e.Grants))
	f.number("sessions", int64(e.Sessions))
	f.text("reason", e.Reason)
}
