package web

// ChooseAccount asks whether to go on as the person who is signed in. It posts
// `account=continue` or `account=other`, and `session`.
type ChooseAccount struct {
	Client Client
	Person Person
	Action string
	// Session binds the answer to the session it was asked in.
	Session string
}

func (ChooseAccount) template() string { return "choose_account" }
func (p ChooseAccount) client() Client { return p.Client }
