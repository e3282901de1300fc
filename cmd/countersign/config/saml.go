package config

import (
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/countersign/countersign/connector/saml"
)

// DefaultMaxAge is how long what a SAML provider said of a person is good for.
const DefaultMaxAge = 12 * time.Hour

// SAML is a SAML 2.0 identity provider upstream. The keys are Dex's, and those for
// metadata, keys of ours, and what people are known by.
type SAML struct {
	// SSOURL is where people are sent to. Required without metadata.
	SSOURL string `mapstructure:"ssoURL"`
	// CA is a file with the certificates that the provider signs with, and CAData is
	// base64 of such a file. One of them is required without metadata.
	CA     string `mapstructure:"ca"`
	CAData string `mapstructure:"caData"`
	// SSOIssuer is the provider's entity id.
	SSOIssuer string `mapstructure:"ssoIssuer"`
	// MetadataURL or MetadataFile say all of this.
	MetadataURL  string `mapstructure:"metadataURL"`
	MetadataFile string `mapstructure:"metadataFile"`
	// RootCAs, ClientCert and ClientKey are for MetadataURL.
	RootCAs    []string `mapstructure:"rootCAs"`
	ClientCert string   `mapstructure:"clientCert"`
	ClientKey  string   `mapstructure:"clientKey"`

	// EntityIssuer is our entity id. Default: RedirectURI.
	EntityIssuer string `mapstructure:"entityIssuer"`
	// RedirectURI is where the provider posts to. Default: the issuer followed by
	// /callback.
	RedirectURI string `mapstructure:"redirectURI"`
	// LogoutUpstream is single logout, both ways: who signs out here is signed out at
	// the provider, and the provider signs people out here. It needs SigningKey.
	// Default: false. SLOURL is where, without metadata.
	LogoutUpstream bool   `mapstructure:"logoutUpstream"`
	SLOURL         string `mapstructure:"sloURL"`
	// Binding of requests: redirect or post. Default: post for ssoURL; redirect for
	// metadata, if they offer it.
	Binding string `mapstructure:"binding"`
	// NameIDPolicyFormat is asked for. Default: persistent.
	NameIDPolicyFormat string `mapstructure:"nameIDPolicyFormat"`
	// RequestedAuthnContext are classes, one of which must have been used.
	RequestedAuthnContext []string `mapstructure:"requestedAuthnContext"`
	// SigningKey and SigningCert are PEM files: they sign requests. EncryptionKey and
	// EncryptionCert decrypt assertions.
	SigningKey     string `mapstructure:"signingKey"`
	SigningCert    string `mapstructure:"signingCert"`
	EncryptionKey  string `mapstructure:"encryptionKey"`
	EncryptionCert string `mapstructure:"encryptionCert"`

	// IDAttr is an immutable id. Default: the NameID.
	IDAttr                string   `mapstructure:"idAttr"`
	UsernameAttr          string   `mapstructure:"usernameAttr"`
	PreferredUsernameAttr string   `mapstructure:"preferredUsernameAttr"`
	EmailAttr             string   `mapstructure:"emailAttr"`
	GroupsAttr            string   `mapstructure:"groupsAttr"`
	GroupsDelim           string   `mapstructure:"groupsDelim"`
	AllowedGroups         []string `mapstructure:"allowedGroups"`
	FilterGroups          bool     `mapstructure:"filterGroups"`
	// MaxAge is how long people may go on refreshing after they signed in.
	// Default: 12h.
	MaxAge time.Duration `mapstructure:"maxAge"`

	// Built of the files.
	Provider saml.Config `mapstructure:"-"`
}

// saml checks a SAML connector and reads its files.
func (c *checker) saml(parent string, conn *Connector) {
	path, s := parent+".config", conn.SAML
	for _, key := range []string{".recheck", ".staleIfError"} {
		if c.given(parent + key) {
			c.problem(parent+key, "does nothing here: SAML providers cannot be asked about people who are not there; say how long they may go on in config.maxAge")
		}
	}
	if s.MaxAge == 0 && !c.given(path+".maxAge") {
		s.MaxAge = DefaultMaxAge
	}
	c.lifetime(path+".maxAge", s.MaxAge, time.Minute, 30*24*time.Hour)
	s.RedirectURI = c.redirectBack(path+".redirectURI", s.RedirectURI, conn.ID)
	c.oneOf(path+".binding", s.Binding, "redirect", "post")
	if s.NameIDPolicyFormat == "" && !c.given(path+".nameIDPolicyFormat") {
		s.NameIDPolicyFormat = "persistent"
	}
	if saml.Transient(s.NameIDPolicyFormat) && s.IDAttr == "" {
		c.problem(path+".nameIDPolicyFormat", "is another one at each sign-in, and no id: set idAttr, or choose persistent")
	}
	s.Provider.Signing = c.keyPair(path, "signing", s.SigningKey, s.SigningCert)
	s.Provider.Decryption = c.keyPair(path, "encryption", s.EncryptionKey, s.EncryptionCert)
	c.samlLogout(path, s)
	if s.MetadataURL != "" || s.MetadataFile != "" {
		c.samlMetadata(path, s)
	} else {
		c.samlProvider(path, s)
	}
	c.trust(path, s.RootCAs, s.ClientCert, s.ClientKey)
	c.sameGroups(path, conn, s.AllowedGroups, s.FilterGroups)
}

// samlLogout checks single logout.
func (c *checker) samlLogout(path string, s *SAML) {
	described := s.MetadataURL != "" || s.MetadataFile != ""
	if s.LogoutUpstream && s.SigningKey == "" && s.SigningCert == "" {
		c.problem(path+".logoutUpstream", "needs signingKey and signingCert: messages of single logout have to be signed")
	}
	if s.LogoutUpstream && !described {
		c.required(path+".sloURL", s.SLOURL, "write where the provider signs people out, or remove logoutUpstream")
	}
	if s.SLOURL == "" {
		return
	}
	switch {
	case described:
		c.problem(path+".sloURL", "is given beside the metadata, which have it: remove one")
	case !s.LogoutUpstream:
		c.problem(path+".sloURL", "does nothing without logoutUpstream: set that, or remove it")
	default:
		c.upstreamURL(path+".sloURL", s.SLOURL)
	}
}

// samlMetadata checks a provider that describes itself.
func (c *checker) samlMetadata(path string, s *SAML) {
	for _, key := range []string{".ssoURL", ".ca", ".caData"} {
		if c.given(path + key) {
			c.problem(path+key, "is given beside the metadata, which have it: remove one")
		}
	}
	if s.MetadataURL != "" && s.MetadataFile != "" {
		c.problem(path+".metadataFile", "is given beside metadataURL: remove one")
	}
	c.readable(path+".metadataFile", s.MetadataFile)
	if s.MetadataURL == "" {
		return
	}
	c.upstreamURL(path+".metadataURL", s.MetadataURL)
	if u, err := url.Parse(s.MetadataURL); err == nil && u.Scheme == "http" && !saml.Loopback(u) {
		c.problem(path+".metadataURL", "must be https: the metadata say whose signatures are believed")
	}
}

// samlProvider checks one that is described here.
func (c *checker) samlProvider(path string, s *SAML) {
	if c.required(path+".ssoURL", s.SSOURL, "write where the provider signs people in, or give metadataURL or metadataFile") {
		c.upstreamURL(path+".ssoURL", s.SSOURL)
	}
	text, ok := c.readable(path+".ca", s.CA)
	at := path + ".ca"
	switch {
	case s.CA != "" && s.CAData != "":
		c.problem(path+".caData", "is given beside ca: remove one")
		return
	case s.CAData != "":
		var err error
		at = path + ".caData"
		if text, err = base64.StdEncoding.DecodeString(s.CAData); err != nil {
			c.problem(at, "is no base64 of a file")
			return
		}
	case s.CA == "":
		if !c.given(path + ".ca") {
			c.problem(path+".ca", "is missing: without a certificate of the provider's, anybody could sign in as anybody")
		}
		return
	case !ok:
		return
	}
	var err error
	if s.Provider.Certificates, err = saml.Certificates(text); err != nil {
		c.problem(at, "has no certificate that can be used: %v", err)
	}
}

// keyPair reads a key of ours.
func (c *checker) keyPair(path, name, keyFile, certFile string) *saml.KeyPair {
	keyPEM, keyOK := c.readable(path+"."+name+"Key", keyFile)
	certPEM, certOK := c.readable(path+"."+name+"Cert", certFile)
	if (keyFile == "") != (certFile == "") {
		at := path + "." + name + "Key"
		if keyFile == "" {
			at = path + "." + name + "Cert"
		}
		c.problem(at, "%sKey and %sCert belong together: give both, or none", name, name)
	}
	if !keyOK || !certOK {
		return nil
	}
	pair, err := rsaPair(certPEM, keyPEM)
	if err != nil {
		c.problem(path+"."+name+"Key", "cannot be used: %v", err)
	}
	return pair
}

func rsaPair(certPEM, keyPEM []byte) (*saml.KeyPair, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is no RSA key")
	}
	if n := key.N.BitLen(); n < 2048 {
		return nil, fmt.Errorf("it has %d bits, fewer than 2048", n)
	}
	return &saml.KeyPair{Key: key, Certificate: pair.Leaf}, nil
}
