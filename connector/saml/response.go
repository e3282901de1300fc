package saml

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/countersign/countersign/connector"
)

const (
	statusPrefix  = "urn:oasis:names:tc:SAML:2.0:status:"
	statusSuccess = statusPrefix + "Success"
)

// expected is what a response has to say, as far as that is known without the
// request that it answers.
type expected struct {
	// acs is our address, where it was posted to. entityID is who we are. issuer is
	// the provider; empty: whoever has one of the keys.
	acs, entityID, issuer string
	certificates          []*x509.Certificate
	// contexts are the acceptable ways to authenticate; empty: all.
	contexts []string
	// key decrypts; may be nil.
	key *rsa.PrivateKey
	now time.Time
}

// read returns what a response says that may be believed. Its errors are or wrap
// connector.ErrTurnedBack or connector.ErrUpstream.
func read(raw []byte, want expected) (assertion, error) {
	a, err := readResponse(raw, want)
	if err != nil && !errors.Is(err, connector.ErrTurnedBack) {
		err = fmt.Errorf("%w: its response: %w", connector.ErrUpstream, err)
	}
	return a, err
}

// readResponse reads a response once.
func readResponse(raw []byte, want expected) (assertion, error) {
	response, err := parse(raw)
	if err != nil {
		return assertion{}, err
	}
	a, err := readParsed(response, want)
	if errors.Is(err, errUnknownKey) && seemsFrom(response, want.issuer) {
		err = newKey{err}
	}
	return a, err
}

// readParsed reads a response in the order of SAML Profiles 4.1.4.3. From each
// verification on, only what it returned is looked at.
func readParsed(response *etree.Element, want expected) (assertion, error) {
	if !is(response, nsProtocol, "Response") {
		return assertion{}, fmt.Errorf("it is a %.50q", response.Tag)
	}
	if err := checkShape(response); err != nil {
		return assertion{}, err
	}
	signed, err := verified(response, want.certificates, want.now)
	if err != nil {
		return assertion{}, err
	}
	if signed != nil {
		response = signed
	}
	if err := checkResponse(response, signed != nil, want); err != nil {
		return assertion{}, err
	}
	el, err := theAssertion(response, want)
	if err != nil {
		return assertion{}, err
	}
	own, err := verified(el, want.certificates, want.now)
	switch {
	case err != nil:
		return assertion{}, err
	case own != nil:
		el = own
	case signed == nil: // SAML Profiles 4.1.3.5
		return assertion{}, errors.New("neither it nor its assertion is signed")
	}
	a, err := readAssertion(el, want.acs, want.now)
	if err != nil {
		return a, err
	}
	if in := attribute(response, "InResponseTo"); in != "" && in != a.InResponseTo {
		return a, errors.New("it and its assertion answer different requests")
	}
	return a, a.check(want)
}

// checkShape refuses documents in which an assertion or a signature is anywhere but
// where it belongs, or there more than once: all ways of wrapping a signature need
// a second one (Somorovsky et al., "On Breaking SAML").
func checkShape(root *etree.Element) error {
	assertions := 0
	return walk(root, func(el *etree.Element) error {
		switch el.Tag {
		case tagAssertion, tagEncryptedAssertion:
			if assertions++; assertions > 1 {
				return errors.New("there is more than one assertion in it")
			}
			if el.NamespaceURI() != nsAssertion || el != root && (el.Parent() != root || !is(root, nsProtocol, "Response")) {
				return errors.New("there is an assertion at a wrong place in it")
			}
		case "Response":
			if el != root {
				return errors.New("there is another response in it")
			}
		case "Signature":
			above := el.Parent()
			if el.NamespaceURI() != nsSignature || above != root && !(above.Parent() == root && is(above, nsAssertion, tagAssertion)) {
				return errors.New("there is a signature at a wrong place in it")
			}
		}
		return nil
	})
}

// checkResponse checks what is around the assertion (SAML Core 3.2.2, Bindings
// 3.5.5.2). If it is not signed, this proves nothing; the assertion's own conditions
// do.
func checkResponse(response *etree.Element, signed bool, want expected) error {
	if v := attribute(response, "Version"); v != "2.0" {
		return fmt.Errorf("it is of version %.20q", v)
	}
	if destination := attribute(response, "Destination"); destination != want.acs && (destination != "" || signed) {
		return fmt.Errorf("its Destination is %.200q, not %q", destination, want.acs)
	}
	issuer, err := optional(response, nsAssertion, "Issuer")
	if err != nil {
		return err
	}
	if issuer != nil {
		if err := checkIssuer(issuer, want.issuer); err != nil {
			return err
		}
	}
	return checkStatus(response)
}

// checkIssuer compares who speaks (SAML Core 2.2.5).
func checkIssuer(el *etree.Element, want string) error {
	value, err := text(el)
	if err != nil {
		return err
	}
	const entity = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	if f := attribute(el, "Format"); f != "" && f != entity && !strings.HasSuffix(f, ":nameid-format:unspecified") {
		return fmt.Errorf("its Issuer has the format %.100q", f)
	}
	if value == "" || want != "" && value != want {
		return fmt.Errorf("its Issuer is %.200q, not %q", value, want)
	}
	return nil
}

// turnedBack are the statuses that speak of the person and not of us (SAML Core
// 3.2.2.2).
var turnedBack = map[string]bool{
	statusPrefix + "AuthnFailed": true, statusPrefix + "RequestDenied": true, statusPrefix + "UnknownPrincipal": true,
}

// checkStatus reads how it went.
func checkStatus(response *etree.Element) error {
	status, err := child(response, nsProtocol, "Status")
	if err != nil {
		return err
	}
	code, err := child(status, nsProtocol, "StatusCode")
	if err != nil {
		return err
	}
	first, second := attribute(code, "Value"), ""
	if first == statusSuccess {
		return nil
	}
	if detail, err := optional(code, nsProtocol, "StatusCode"); err == nil && detail != nil {
		second = attribute(detail, "Value")
	}
	if turnedBack[first] || turnedBack[second] {
		return fmt.Errorf("%w: %.100q, %.100q", connector.ErrTurnedBack, first, second)
	}
	message := ""
	if el, err := optional(status, nsProtocol, "StatusMessage"); err == nil && el != nil {
		message, _ = text(el) // for the log only
	}
	return fmt.Errorf("the status is %.100q, %.100q: %.300q", first, second, message)
}

// theAssertion is the only one, decrypted if it was encrypted.
func theAssertion(response *etree.Element, want expected) (*etree.Element, error) {
	encrypted, err := optional(response, nsAssertion, tagEncryptedAssertion)
	if err != nil {
		return nil, err
	}
	if encrypted == nil {
		return child(response, nsAssertion, tagAssertion)
	}
	el, err := decrypt(encrypted, want.key)
	if err != nil {
		return nil, err
	}
	if !is(el, nsAssertion, tagAssertion) {
		return nil, fmt.Errorf("what is encrypted is a %.50q", el.Tag)
	}
	return el, checkShape(el)
}
