package web

// ChooseAccount asks whether to go on as the person who is signed in. It posts
// `account=continue` or `account=other`, and `subject`.
type ChooseAccount struct {
	Client Client
	Person Person
	Action string
	// Subject binds the answer to the person who is named on the page.
	Subject string
}

func (ChooseAccount) template() string { return "choose_account" }
func (p ChooseAccount) client() Client { return p.Client }
