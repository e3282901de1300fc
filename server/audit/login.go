package audit

// LoginSucceeded is `login.succeeded`: somebody has proved who they are at a
// connector, and their browser has a session. connector_id, user_id, sid, sub,
// account, client_id.
type LoginSucceeded struct {
	Session  Session
	Subject  string
	Account  string
	ClientID string
}

func (LoginSucceeded) name() string { return "login.succeeded" }

func (e LoginSucceeded) describe(f *fields) {
	e.Session.describe(f)
	f.text("sub", e.Subject)
	f.text("account", e.Account)
	f.text("client_id", e.ClientID)
}

// LoginReason is why somebody did not get in.
type LoginReason string

// The reasons of LoginFailed.
const (
	// WrongCredentials: the connector does not know the name, or not with that
	// password.
	WrongCredentials LoginReason = "wrong_credentials"
	// Throttled: too many failures before; nothing was checked.
	Throttled LoginReason = "throttled"
	// Denied: the connector knows the person, and does not let them in.
	Denied LoginReason = "denied"
	// TurnedBack: the person did not want to, on the upstream's page.
	TurnedBack LoginReason = "turned_back"
	// UpstreamFailed: the connector could not say.
	UpstreamFailed LoginReason = "upstream_failed"
	// AnotherPerson: the client asked for somebody else (id_token_hint).
	AnotherPerson LoginReason = "another_person"
	// Abandoned: whoever tried hung up before anybody could say.
	Abandoned LoginReason = "abandoned"
	// ServerError: we could not say.
	ServerError LoginReason = "server_error"
)

// LoginFailed is `login.failed`: somebody tried to sign in and is not signed in.
// connector_id, user_id (with another_person only), account, client_id, reason.
type LoginFailed struct {
	Person   Person
	Account  string
	ClientID string
	Reason   LoginReason
}

func (LoginFailed) name() string { return "login.failed" }

func (e LoginFailed) describe(f *fields) {
	e.Person.describe(f)
	f.text("account", e.Account)
	f.text("client_id", e.ClientID)
	f.text("reason", string(e.Reason))
}
