package audit

// CodeIssued is `code.issued`: a client gets a code for a login. connector_id,
// user_id, client_id, grant_id, sid, scope.
type CodeIssued struct {
	Grant  Grant
	Scopes []string
}

func (CodeIssued) name() string { return "code.issued" }

func (e CodeIssued) describe(f *fields) {
	e.Grant.describe(f)
	f.list("scope", e.Scopes)
}

// CodeRedeemed is `code.redeemed`: the code was exchanged for tokens.
// connector_id, user_id, client_id, grant_id, sid.
type CodeRedeemed struct{ Grant Grant }

func (CodeRedeemed) name() string { return "code.redeemed" }

func (e CodeRedeemed) describe(f *fields) { e.Grant.describe(f) }

// CodeReused is `code.reused`: the client presented a code that was redeemed
// before, and with it everything that came of it was revoked. connector_id,
// user_id, client_id, grant_id, sid, held_by_address, held_by_user_agent,
// held_since. Who presented it is in address and user_agent.
type CodeReused struct {
	Grant  Grant
	HeldBy Holder
}

func (CodeReused) name() string { return "code.reused" }

func (e CodeReused) describe(f *fields) {
	e.Grant.describe(f)
	e.HeldBy.describe(f)
}
