package audit

// ConsentGiven is `consent.given`: a person allowed a client what it asked for.
// connector_id, user_id, sid, client_id, scope.
type ConsentGiven struct {
	Session  Session
	ClientID string
	Scopes   []string
}

func (ConsentGiven) name() string { return "consent.given" }

func (e ConsentGiven) describe(f *fields) { describeConsent(f, e.Session, e.ClientID, e.Scopes) }

// ConsentRefused is `consent.refused`: a person did not. The fields are those of
// consent.given.
type ConsentRefused struct {
	Session  Session
	ClientID string
	Scopes   []string
}

func (ConsentRefused) name() string { return "consent.refused" }

func (e ConsentRefused) describe(f *fields) { describeConsent(f, e.Session, e.ClientID, e.Scopes) }

func describeConsent(f *fields, s Session, clientID string, scopes []string) {
	s.describe(f)
	f.text("client_id", clientID)
	f.list("scope", scopes)
}
