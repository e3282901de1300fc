package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/beevik/etree"
	xrv "github.com/mattermost/xml-roundtrip-validator"
)

const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsXMLEnc    = "http://www.w3.org/2001/04/xmlenc#"
	nsXMLEnc11  = "http://www.w3.org/2009/xmlenc11#"

	tagAssertion          = "Assertion"
	tagEncryptedAssertion = "EncryptedAssertion"
)

// What a document may have. A response has some hundred elements; one with
// thousands of groups has thousands.
const (
	maxDocument   = 384 << 10
	maxDepth      = 32
	maxElements   = 16 << 10
	maxAttributes = 32
)

// parse reads a message. Everything that makes two readers of XML disagree about
// it, and nothing of SAML needs, is refused before it is read: document types and
// entities, comments, processing instructions, attributes and ids that are there
// twice, and what a round trip would change.
//
// All readers after this one (etree, the signature library) use encoding/xml, too.
func parse(raw []byte) (*etree.Element, error) {
	if len(raw) > maxDocument {
		return nil, fmt.Errorf("the message has %d bytes, more than %d", len(raw), maxDocument)
	}
	if err := scan(raw); err != nil {
		return nil, err
	}
	if err := xrv.Validate(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("the message is not stable XML: %w", err)
	}
	doc := etree.NewDocument()
	doc.ReadSettings.MaxDepth = maxDepth
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	if doc.Root() == nil {
		return nil, errors.New("the message has no element")
	}
	return doc.Root(), nil
}

// scan looks at every token of a document once.
func scan(raw []byte) error {
	d := xml.NewDecoder(bytes.NewReader(raw)) // strict: only the five entities of XML, only UTF-8
	s := scanner{ids: make(map[string]bool)}
	for {
		start := d.InputOffset()
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the message: %w", err)
		}
		if err := s.token(token, start); err != nil {
			return err
		}
	}
}

type scanner struct {
	depth, elements int
	ids             map[string]bool
}

func (s *scanner) token(token xml.Token, offset int64) error {
	switch t := token.(type) {
	case xml.Directive:
		return errors.New("the message has a document type")
	case xml.Comment:
		return errors.New("the message has a comment")
	case xml.ProcInst:
		if t.Target != "xml" || offset != 0 {
			return errors.New("the message has a processing instruction")
		}
	case xml.CharData:
		if s.depth == 0 && len(bytes.TrimSpace(t)) > 0 {
			return errors.New("the message has text outside its element")
		}
	case xml.EndElement:
		s.depth--
	case xml.StartElement:
		return s.start(t)
	}
	return nil
}

func (s *scanner) start(t xml.StartElement) error {
	if s.depth == 0 && s.elements > 0 {
		return errors.New("the message has more than one root")
	}
	s.depth++
	s.elements++
	if s.depth > maxDepth || s.elements > maxElements || len(t.Attr) > maxAttributes {
		return errors.New("the message has too many elements, or too many inside one another")
	}
	seen := make(map[xml.Name]bool, len(t.Attr))
	for _, a := range t.Attr {
		if seen[a.Name] {
			return fmt.Errorf("the attribute %.50q is there twice", a.Name.Local)
		}
		seen[a.Name] = true
		if !strings.EqualFold(a.Name.Local, "ID") || a.Name.Space == "xmlns" {
			continue
		}
		// The signature library finds an ID by its name alone.
		if a.Name.Space != "" || a.Value == "" || s.ids[a.Value] {
			return fmt.Errorf("the id %.100q is empty, has a prefix, or is there twice", a.Value)
		}
		s.ids[a.Value] = true
	}
	return nil
}

// is reports what an element is by its namespace, whatever its prefix.
func is(el *etree.Element, namespace, tag string) bool {
	return el.Tag == tag && el.NamespaceURI() == namespace
}

// children are those of a kind.
func children(el *etree.Element, namespace, tag string) (all []*etree.Element) {
	for _, child := range el.ChildElements() {
		if is(child, namespace, tag) {
			all = append(all, child)
		}
	}
	return all
}

// optional is the only child of a kind, or nil.
func optional(el *etree.Element, namespace, tag string) (*etree.Element, error) {
	all := children(el, namespace, tag)
	switch len(all) {
	case 0:
		return nil, nil //nolint:nilnil // it may be missing
	case 1:
		return all[0], nil
	}
	return nil, fmt.Errorf("%s has %d elements %s", el.Tag, len(all), tag)
}

// child is the only child of a kind.
func child(el *etree.Element, namespace, tag string) (*etree.Element, error) {
	found, err := optional(el, namespace, tag)
	if err == nil && found == nil {
		err = fmt.Errorf("%s has no %s", el.Tag, tag)
	}
	return found, err
}

// walk visits an element and all inside it.
func walk(el *etree.Element, visit func(*etree.Element) error) error {
	if err := visit(el); err != nil {
		return err
	}
	for _, child := range el.ChildElements() {
		if err := walk(child, visit); err != nil {
			return err
		}
	}
	return nil
}

// attribute is the value of an attribute without a prefix; empty if it is missing.
func attribute(el *etree.Element, name string) string {
	for _, a := range el.Attr {
		if a.Space == "" && a.Key == name {
			return a.Value
		}
	}
	return ""
}

// text is the whole text of an element that has nothing else. (etree's own Text
// ends at the first comment: CVE-2017-11428 and its relatives.)
func text(el *etree.Element) (string, error) {
	var b strings.Builder
	for _, token := range el.Child {
		chars, ok := token.(*etree.CharData)
		if !ok {
			return "", fmt.Errorf("%s has more in it than text", el.Tag)
		}
		b.WriteString(chars.Data)
	}
	return b.String(), nil
}

// instant reads an attribute that is a time (SAML Core 1.3.3); zero if it is
// missing.
func instant(el *etree.Element, name string) (time.Time, error) {
	value := attribute(el, name)
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return t, fmt.Errorf("%s is no time: %w", name, err)
	}
	return t, nil
}
