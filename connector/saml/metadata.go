package saml

import (
	"encoding/base64"
	"strconv"

	"github.com/beevik/etree"
	crewjam "github.com/crewjam/saml"
)

// Metadata implements connector.Metadata (SAML Metadata 2.4.4).
func (c *Connector) Metadata() (contentType string, body []byte, err error) {
	root := etree.NewElement("EntityDescriptor")
	root.CreateAttr("xmlns", "urn:oasis:names:tc:SAML:2.0:metadata")
	root.CreateAttr("entityID", c.cfg.EntityID)
	sp := root.CreateElement("SPSSODescriptor")
	sp.CreateAttr("AuthnRequestsSigned", strconv.FormatBool(c.cfg.Signing != nil))
	sp.CreateAttr("WantAssertionsSigned", "true")
	sp.CreateAttr("protocolSupportEnumeration", nsProtocol)
	if c.cfg.Signing != nil {
		describeKey(sp, "signing", c.cfg.Signing)
	}
	if c.cfg.Decryption != nil {
		key := describeKey(sp, "encryption", c.cfg.Decryption)
		for _, name := range []string{
			nsXMLEnc11 + "aes256-gcm", nsXMLEnc11 + "aes128-gcm", nsXMLEnc + "aes256-cbc", nsXMLEnc + "aes128-cbc", nsXMLEnc + "rsa-oaep-mgf1p",
		} {
			key.CreateElement("EncryptionMethod").CreateAttr("Algorithm", name)
		}
	}
	if c.cfg.SignOutURL != "" {
		for _, binding := range []string{crewjam.HTTPRedirectBinding, crewjam.HTTPPostBinding} {
			slo := sp.CreateElement("SingleLogoutService")
			slo.CreateAttr("Binding", binding)
			slo.CreateAttr("Location", c.cfg.SignOutURL)
		}
	}
	if name := format(c.cfg.NameIDFormat); name != "" {
		sp.CreateElement("NameIDFormat").SetText(name)
	}
	acs := sp.CreateElement("AssertionConsumerService")
	acs.CreateAttr("Binding", crewjam.HTTPPostBinding)
	acs.CreateAttr("Location", c.cfg.ACSURL)
	acs.CreateAttr("index", "0")
	acs.CreateAttr("isDefault", "true")
	body, err = document(root)
	return "application/samlmetadata+xml", body, err
}

func describeKey(sp *etree.Element, use string, k *KeyPair) *etree.Element {
	key := sp.CreateElement("KeyDescriptor")
	key.CreateAttr("use", use)
	info := key.CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", nsSignature)
	info.CreateElement("ds:X509Data").CreateElement("ds:X509Certificate").SetText(base64.StdEncoding.EncodeToString(k.Certificate.Raw))
	return key
}
