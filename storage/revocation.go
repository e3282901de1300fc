package storage

import (
	"cmp"
	"fmt"
	"time"
)

// Selector says which grants, and which sessions, a revocation is about: those
// that match every field that is set. UserID counts together with ConnectorID.
// One that names nothing is ErrInvalid: what ends everything has to say so.
type Selector struct {
	// GrantID is one grant; no session matches.
	GrantID GrantID
	// SID is one browser's session.
	SID string
	// ConnectorID and UserID are one person; ConnectorID alone is everybody of a
	// connector.
	ConnectorID string
	UserID      string
	// ClientID are the grants of a client; no session matches.
	ClientID string
	// UnusedSince are sessions that were last used then or before, and whose
	// person did not ask to stay signed in; no grant matches.
	UnusedSince time.Time
	// Everything there is.
	Everything bool
}

// By is the one field that rows are found by.
type By int

// What rows are found by, the most selective first.
const (
	ByNothing By = iota
	ByGrant
	BySID
	ByPerson
	ByConnector
	ByClient
	ByUse
	ByAll
)

// By says how to find the rows.
func (s Selector) By() By {
	switch {
	case s.GrantID != GrantID{}:
		return ByGrant
	case s.SID != "":
		return BySID
	case s.ConnectorID != "" && s.UserID != "":
		return ByPerson
	case s.ConnectorID != "":
		return ByConnector
	case s.ClientID != "":
		return ByClient
	case !s.UnusedSince.IsZero():
		return ByUse
	case s.Everything:
		return ByAll
	}
	return ByNothing
}

// Revocation is the argument of Grants.RevokeGrants: one batch of it.
type Revocation struct {
	Of     Selector
	Now    time.Time
	Reason string
	// Before: what was made later stays, so that a revocation comes to an end
	// while people go on signing in.
	Before time.Time
	// After is the Next of the batch before; zero: from the beginning.
	After Cursor
	// Limit is the most rows that are looked at.
	Limit int
}

// SessionEnd is the argument of Sessions.EndSessions: one batch of it.
type SessionEnd struct {
	Of Selector
	// Before, After and Limit are as in Revocation.
	Before time.Time
	After  Cursor
	Limit  int
	// With says what ends with each session.
	With Ending
}

// Cursor is where a batch has come to.
type Cursor struct {
	UserID  string
	GrantID GrantID
	Session [32]byte
}

// Revoked is what a batch did.
type Revoked struct {
	// Rows is how many grants or sessions this call ended.
	Rows int
	// Next is where the next batch begins; Done: there is none.
	Next Cursor
	Done bool
}

// Holding asks for the sessions or grants of one person, for them to look at.
type Holding struct {
	ConnectorID string
	UserID      string
	Now         time.Time
	// UsedAfter leaves out sessions that were last used then or before, and whose
	// person did not ask to stay signed in.
	UsedAfter time.Time
	// Scope is what grants must have been granted; empty: any.
	Scope string
	// Before is the last grant of the page before; zero: the newest.
	Before GrantID
	// Limit is the most that is returned.
	Limit int
}

// Check returns what every engine must refuse about a revocation as ErrInvalid.
func (in *Revocation) Check() error {
	if by := in.Of.By(); by == ByUse || !in.Of.UnusedSince.IsZero() {
		return fmt.Errorf("%w: grants are not found by their session's use", ErrInvalid)
	}
	return cmp.Or(in.Of.check(), CheckText(in.Reason, in.After.UserID), checkLimit(in.Limit))
}

// Check returns what every engine must refuse about the end of sessions as
// ErrInvalid.
func (in *SessionEnd) Check() error {
	if in.Of.GrantID != (GrantID{}) || in.Of.ClientID != "" {
		return fmt.Errorf("%w: a session belongs to no grant and no client", ErrInvalid)
	}
	return cmp.Or(in.Of.check(), in.With.Check(), CheckText(in.After.UserID), checkLimit(in.Limit))
}

// Check returns what every engine must refuse about such a question as
// ErrInvalid.
func (in *Holding) Check() error {
	return cmp.Or(CheckKeys(in.ConnectorID, in.UserID), CheckText(in.Scope), checkLimit(in.Limit))
}

func (s Selector) check() error {
	if s.By() == ByNothing || s.UserID != "" && s.ConnectorID == "" {
		return fmt.Errorf("%w: it does not say what is to end", ErrInvalid)
	}
	return cmp.Or(CheckKeys(s.ConnectorID, s.UserID, s.ClientID), CheckText(s.SID))
}

func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("%w: a limit of %d", ErrInvalid, limit)
	}
	return nil
}
