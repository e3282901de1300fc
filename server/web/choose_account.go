package web

// ChooseAccount asks whether to go on as the person who is signed in. It posts
// `account=continue` or `account=other`.
type ChooseAccount struct {
	Client         Client
	Person         Person
	ContinueAction string
	OtherAction    string
}

func (ChooseAccount) template() string { return "choose_account" }
func (p ChooseAccount) client() Client { return p.Client }
