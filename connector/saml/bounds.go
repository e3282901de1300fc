package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// What metadata may have, beside maxDepth. A provider's have some dozen elements,
// and those of a federation that fit into maxMetadata some thousands; their root
// declares some dozen namespaces.
const (
	maxMetadataElements   = 16 << 10
	maxMetadataAttributes = 64
)

// checkBounds refuses metadata that would cost readers far more than their length.
// It looks at every token once.
func checkBounds(text []byte) error {
	d := xml.NewDecoder(bytes.NewReader(text))
	depth, elements := 0, 0
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading them: %w", err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("they have a document type")
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			elements++
			if depth > maxDepth || elements > maxMetadataElements || len(t.Attr) > maxMetadataAttributes {
				return errors.New("they have too many elements, or attributes, or too many elements inside one another")
			}
		}
	}
}
