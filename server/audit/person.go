package audit

import "github.com/countersign/countersign/storage"

// Person is somebody as their connector knows them.
type Person struct{ ConnectorID, UserID string }

func (p Person) describe(f *fields) {
	f.text("connector_id", p.ConnectorID)
	f.text("user_id", p.UserID)
}

// Grant names a login of a person at a client.
type Grant struct {
	ID       storage.GrantID
	ClientID string
	Person   Person
	SID      string
}

// GrantOf names a grant.
func GrantOf(g storage.Grant) Grant {
	return Grant{ID: g.ID, ClientID: g.ClientID, Person: Person{g.ConnectorID, g.UserID}, SID: g.SID}
}

func (g Grant) describe(f *fields) {
	g.Person.describe(f)
	f.text("client_id", g.ClientID)
	f.grantID(g.ID)
	f.text("sid", g.SID)
}

// Session names a browser's session.
type Session struct {
	SID    string
	Person Person
}

// SessionOf names a session.
func SessionOf(s storage.Session) Session {
	return Session{SID: s.SID, Person: Person{s.ConnectorID, s.UserID}}
}

func (s Session) describe(f *fields) {
	s.Person.describe(f)
	f.text("sid", s.SID)
}
