package web

// Finished says that this sign-in is over, done or expired: the back button, a
// second submit, a reload. Whose it was is not known any more.
type Finished struct{}

func (Finished) template() string { return "finished" }
