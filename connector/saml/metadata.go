package saml

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"

	crewjam "github.com/crewjam/saml"
)

// The parts of SAML Metadata 2.4.4 that describe us. (The library's types write
// times and addresses that there are none of.)
type (
	entityDescriptor struct {
		XMLName  xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
		EntityID string   `xml:"entityID,attr"`
		SP       spDescriptor
	}
	spDescriptor struct {
		XMLName              xml.Name `xml:"SPSSODescriptor"`
		Protocols            string   `xml:"protocolSupportEnumeration,attr"`
		AuthnRequestsSigned  bool     `xml:"AuthnRequestsSigned,attr"`
		WantAssertionsSigned bool     `xml:"WantAssertionsSigned,attr"`
		Keys                 []keyDescriptor
		NameIDFormat         string `xml:"NameIDFormat,omitempty"`
		ACS                  consumer
	}
	keyDescriptor struct {
		XMLName     xml.Name                   `xml:"KeyDescriptor"`
		Use         string                     `xml:"use,attr"`
		Certificate string                     `xml:"http://www.w3.org/2000/09/xmldsig# KeyInfo>X509Data>X509Certificate"`
		Methods     []crewjam.EncryptionMethod `xml:"EncryptionMethod"`
	}
	consumer struct {
		XMLName  xml.Name `xml:"AssertionConsumerService"`
		Binding  string   `xml:"Binding,attr"`
		Location string   `xml:"Location,attr"`
		Index    int      `xml:"index,attr"`
		Default  bool     `xml:"isDefault,attr"`
	}
)

// Metadata implements connector.Metadata.
func (c *Connector) Metadata() (contentType string, body []byte, err error) {
	d := entityDescriptor{EntityID: c.cfg.EntityID, SP: spDescriptor{
		Protocols: nsProtocol, AuthnRequestsSigned: c.cfg.Signing != nil, WantAssertionsSigned: true,
		NameIDFormat: format(c.cfg.NameIDFormat),
		ACS:          consumer{Binding: crewjam.HTTPPostBinding, Location: c.cfg.ACSURL, Default: true},
	}}
	if c.cfg.Signing != nil {
		d.SP.Keys = append(d.SP.Keys, describeKey("signing", c.cfg.Signing))
	}
	if c.cfg.Decryption != nil {
		k := describeKey("encryption", c.cfg.Decryption)
		for _, name := range []string{
			nsXMLEnc11 + "aes256-gcm", nsXMLEnc11 + "aes128-gcm", nsXMLEnc + "aes256-cbc", nsXMLEnc + "aes128-cbc", nsXMLEnc + "rsa-oaep-mgf1p",
		} {
			k.Methods = append(k.Methods, crewjam.EncryptionMethod{Algorithm: name})
		}
		d.SP.Keys = append(d.SP.Keys, k)
	}
	body, err = xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return "", nil, fmt.Errorf("writing our metadata: %w", err)
	}
	return "application/samlmetadata+xml", append([]byte(xml.Header), append(body, '\n')...), nil
}

func describeKey(use string, k *KeyPair) keyDescriptor {
	return keyDescriptor{Use: use, Certificate: base64.StdEncoding.EncodeToString(k.Certificate.Raw)}
}
