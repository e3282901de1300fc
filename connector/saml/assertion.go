package saml

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/beevik/etree"
)

const (
	// skew is how far the provider's clock may be from ours.
	skew = time.Minute

	// maxDelay is how long after it was made an assertion is believed, whatever it
	// says itself.
	maxDelay = time.Hour

	methodBearer = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
)

// assertion is what was read of one, and what Arrive is told of it.
type assertion struct {
	ID           string `json:"id"`
	InResponseTo string `json:"in_response_to"`
	NameID       string `json:"name_id,omitempty"`
	NameIDFormat string `json:"name_id_format,omitempty"`
	// Those of the NameID, and the session at the provider; for signing out.
	NameQualifier   string              `json:"name_qualifier,omitempty"`
	SPNameQualifier string              `json:"sp_name_qualifier,omitempty"`
	SessionIndex    string              `json:"session_index,omitempty"`
	Attributes      map[string][]string `json:"attributes,omitempty"`
	AuthnInstant    time.Time           `json:"authn_instant"`
	AuthnContext    string              `json:"authn_context,omitempty"`

	// What follows is checked and forgotten.
	issuer            *etree.Element
	issued            time.Time
	notBefore, notOn  time.Time
	confirmedUntil    time.Time
	sessionUntil      time.Time
	audiences         [][]string
	unknownConditions []string
}

// readAssertion reads a verified assertion (SAML Core 2.3.3).
func readAssertion(el *etree.Element, acs string, now time.Time) (a assertion, err error) {
	a.ID = attribute(el, "ID")
	if version := attribute(el, "Version"); version != "2.0" || a.ID == "" {
		return a, fmt.Errorf("the assertion has the version %.20q and the ID %.50q", version, a.ID)
	}
	if a.issued, err = instant(el, "IssueInstant"); err != nil {
		return a, err
	}
	if a.issuer, err = child(el, nsAssertion, "Issuer"); err != nil {
		return a, err
	}
	for _, part := range []func(*etree.Element) error{
		func(el *etree.Element) error { return a.readSubject(el, acs, now) }, a.readConditions, a.readAuthn, a.readAttributes,
	} {
		if err := part(el); err != nil {
			return a, err
		}
	}
	return a, nil
}

// readSubject reads who it is about, and the first confirmation that holds for us
// (SAML Profiles 4.1.4.2 and 4.1.4.3: at least one has to).
func (a *assertion) readSubject(el *etree.Element, acs string, now time.Time) error {
	subject, err := child(el, nsAssertion, "Subject")
	if err != nil {
		return err
	}
	name, err := optional(subject, nsAssertion, "NameID")
	if err != nil {
		return err
	}
	if name != nil {
		if a.NameID, err = text(name); err != nil {
			return err
		}
		a.NameIDFormat = attribute(name, "Format")
		a.NameQualifier, a.SPNameQualifier = attribute(name, "NameQualifier"), attribute(name, "SPNameQualifier")
	}
	err = errors.New("the assertion has no bearer confirmation")
	for _, confirmation := range children(subject, nsAssertion, "SubjectConfirmation") {
		if attribute(confirmation, "Method") != methodBearer {
			continue
		}
		if err = a.confirm(confirmation, acs, now); err == nil {
			return nil
		}
	}
	return err
}

// confirm checks a bearer confirmation (SAML Profiles 4.1.4.2).
func (a *assertion) confirm(confirmation *etree.Element, acs string, now time.Time) error {
	data, err := child(confirmation, nsAssertion, "SubjectConfirmationData")
	if err != nil {
		return err
	}
	until, err := instant(data, "NotOnOrAfter")
	if err != nil {
		return err
	}
	from, err := instant(data, "NotBefore")
	if err != nil {
		return err
	}
	switch {
	case attribute(data, "Recipient") != acs:
		return fmt.Errorf("the assertion's Recipient is %.200q, not %q", attribute(data, "Recipient"), acs)
	case until.IsZero():
		return errors.New("the assertion's confirmation has no NotOnOrAfter")
	case !now.Before(until.Add(skew)):
		return fmt.Errorf("the assertion could be used until %s", until)
	case !from.IsZero() && now.Before(from.Add(-skew)):
		return fmt.Errorf("the assertion can be used from %s on", from)
	case attribute(data, "InResponseTo") == "":
		return errors.New("the assertion answers no request of ours: sign-ins that begin at the provider are not accepted")
	}
	a.confirmedUntil, a.InResponseTo = until, attribute(data, "InResponseTo")
	return nil
}

// readConditions reads when and for whom it holds (SAML Core 2.5.1).
func (a *assertion) readConditions(el *etree.Element) error {
	conditions, err := child(el, nsAssertion, "Conditions")
	if err != nil {
		return err
	}
	if a.notBefore, err = instant(conditions, "NotBefore"); err != nil {
		return err
	}
	if a.notOn, err = instant(conditions, "NotOnOrAfter"); err != nil {
		return err
	}
	for _, c := range conditions.ChildElements() {
		switch {
		case is(c, nsAssertion, "AudienceRestriction"):
			audiences, err := texts(c, "Audience")
			if err != nil {
				return err
			}
			a.audiences = append(a.audiences, audiences)
		case is(c, nsAssertion, "OneTimeUse"), is(c, nsAssertion, "ProxyRestriction"): // each is used once, and by us only
		default:
			a.unknownConditions = append(a.unknownConditions, c.Tag)
		}
	}
	return nil
}

// readAuthn reads when and how they authenticated (SAML Core 2.7.2; Profiles
// 4.1.4.2: at least once).
func (a *assertion) readAuthn(el *etree.Element) error {
	all := children(el, nsAssertion, "AuthnStatement")
	if len(all) != 1 {
		return fmt.Errorf("the assertion says %d times how the person has authenticated, not once", len(all))
	}
	var err error
	if a.AuthnInstant, err = instant(all[0], "AuthnInstant"); err != nil {
		return err
	}
	if a.sessionUntil, err = instant(all[0], "SessionNotOnOrAfter"); err != nil {
		return err
	}
	a.SessionIndex = attribute(all[0], "SessionIndex")
	context, err := child(all[0], nsAssertion, "AuthnContext")
	if err != nil {
		return err
	}
	class, err := optional(context, nsAssertion, "AuthnContextClassRef")
	if err != nil || class == nil {
		return err
	}
	a.AuthnContext, err = text(class)
	return err
}

// readAttributes reads all attributes by their names (SAML Core 2.7.3). Encrypted
// ones are not read.
func (a *assertion) readAttributes(el *etree.Element) error {
	a.Attributes = make(map[string][]string)
	for _, statement := range children(el, nsAssertion, "AttributeStatement") {
		for _, attr := range children(statement, nsAssertion, "Attribute") {
			name := attribute(attr, "Name")
			values, err := values(attr)
			if err != nil {
				return fmt.Errorf("the attribute %.100q: %w", name, err)
			}
			a.Attributes[name] = append(a.Attributes[name], values...)
		}
	}
	return nil
}

// values are those of an attribute that are text. Structured ones, such as a NameID
// for eduPersonTargetedID, are left out: no key of ours could take them.
func values(attr *etree.Element) (all []string, err error) {
	for _, value := range children(attr, nsAssertion, "AttributeValue") {
		if len(value.ChildElements()) > 0 {
			continue
		}
		v, err := text(value)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// texts are the texts of the children with that tag.
func texts(el *etree.Element, tag string) (all []string, err error) {
	for _, c := range children(el, nsAssertion, tag) {
		t, err := text(c)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// check applies the conditions (SAML Core 2.5.1, Profiles 4.1.4.3).
func (a *assertion) check(want expected) error {
	if err := checkIssuer(a.issuer, want.issuer); err != nil {
		return err
	}
	now := want.now
	switch {
	case len(a.unknownConditions) > 0: // 2.5.1.1: what is not understood does not hold
		return fmt.Errorf("the assertion has conditions %.200q that are not understood", a.unknownConditions)
	case a.issued.IsZero() || a.issued.After(now.Add(skew)) || !now.Before(a.issued.Add(maxDelay)):
		return fmt.Errorf("the assertion was made at %s", a.issued)
	case a.notBefore.IsZero() || a.notOn.IsZero():
		return errors.New("the assertion does not say from when until when it holds")
	case now.Before(a.notBefore.Add(-skew)):
		return fmt.Errorf("the assertion holds from %s on", a.notBefore)
	case !now.Before(a.notOn.Add(skew)):
		return fmt.Errorf("the assertion held until %s", a.notOn)
	case !a.sessionUntil.IsZero() && !now.Before(a.sessionUntil.Add(skew)):
		return fmt.Errorf("the session at the provider ended at %s", a.sessionUntil)
	case len(a.audiences) == 0:
		return errors.New("the assertion does not say for whom it is")
	case a.AuthnInstant.IsZero():
		return errors.New("the assertion does not say when the person has authenticated")
	case len(want.contexts) > 0 && !slices.Contains(want.contexts, a.AuthnContext):
		// The request went through the person's browser; they may have changed it.
		return fmt.Errorf("the person has authenticated by %.200q, which was not asked for", a.AuthnContext)
	}
	for _, audiences := range a.audiences { // 2.5.1.4: each of them has to hold
		if !slices.Contains(audiences, want.entityID) {
			return fmt.Errorf("the assertion is for %.300q, not for %q", audiences, want.entityID)
		}
	}
	return nil
}

// believedUntil is when check refuses it.
func (a *assertion) believedUntil() time.Time {
	until := a.issued.Add(maxDelay)
	for _, t := range []time.Time{a.confirmedUntil.Add(skew), a.notOn.Add(skew)} {
		if t.Before(until) {
			until = t
		}
	}
	return until
}
