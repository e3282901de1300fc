package audit

// SessionEnded is `session.ended`: a person was signed out in one browser, and
// with the session end the logins that are bound to it. connector_id, user_id,
// sid, by: client (it vouched with an id_token_hint), person (on a page of ours),
// login (somebody else signed in), administrator, connector (the upstream has ended
// its own); client_id, if one asked for it.
type SessionEnded struct {
	Session  Session
	By       Actor
	ClientID string
}

func (SessionEnded) name() string { return "session.ended" }

func (e SessionEnded) describe(f *fields) {
	e.Session.describe(f)
	f.text("by", string(e.By))
	f.text("client_id", e.ClientID)
}

// SessionsEnded is `sessions.ended`: people were signed out of browsers that were
// selected, and with the sessions end the logins that are bound to them. The
// fields that selected them (connector_id, user_id, sid), sessions (how many), by,
// reason. It is written also when there were none.
type SessionsEnded struct {
	Of       Selector
	Sessions int
	By       Actor
	Reason   string
}

func (SessionsEnded) name() string { return "sessions.ended" }

func (e SessionsEnded) describe(f *fields) {
	e.Of.describe(f)
	f.number("sessions", int64(e.Sessions))
	f.text("by", string(e.By))
	f.text("reason", e.Reason)
}

// LogoutDelivered is `logout.delivered`: a client has taken the message that a
// session has ended (OpenID Connect Back-Channel Logout 1.0). connector_id,
// user_id, sid, client_id, attempts.
type LogoutDelivered struct {
	Session  Session
	ClientID string
	Attempts int64
}

func (LogoutDelivered) name() string { return "logout.delivered" }

func (e LogoutDelivered) describe(f *fields) {
	describeDelivery(f, e.Session, e.ClientID, e.Attempts)
}

// LogoutAbandoned is `logout.abandoned`: a client could not be told that a session
// has ended, and is not told any more. The fields are those of logout.delivered.
type LogoutAbandoned struct {
	Session  Session
	ClientID string
	Attempts int64
}

func (LogoutAbandoned) name() string { return "logout.abandoned" }

func (e LogoutAbandoned) describe(f *fields) {
	describeDelivery(f, e.Session, e.ClientID, e.Attempts)
}

func describeDelivery(f *fields, s Session, clientID string, attempts int64) {
	s.describe(f)
	f.text("client_id", clientID)
	f.number("attempts", attempts)
}
