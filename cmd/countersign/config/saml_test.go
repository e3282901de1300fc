package config

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connector/saml/samltest"
)

// The sections of the README, and what they become.
func TestREADMESAML(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^    - type: saml\n(?:      .*\n)+`).FindAllString(string(text), -1)
	if len(sections) != 4 {
		t.Fatalf("found %d sections", len(sections))
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := append(samltest.PEM(samltest.Certify(t, key)),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	config := "issuer: https://login.example.com\nweb: {http: 127.0.0.1:5556}\nconnectors:\n" + strings.ReplaceAll(strings.Join(sections, ""), "\n    ", "\n")
	cfg, err := Parse("FILE", []byte(strings.ReplaceAll(config, "    - type", "- type")), Outside{
		Env: nothing, ReadFile: func(string) ([]byte, error) { return file, nil }, Stat: func(string) (fs.FileInfo, error) { return nil, fs.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cfg.Connectors {
		if c.SAML == nil || c.SAML.MaxAge != 12*time.Hour || c.SAML.RedirectURI != "https://login.example.com/callback" || c.SAML.NameIDPolicyFormat != "persistent" {
			t.Errorf("%s: %+v", c.ID, c.SAML)
		}
	}
	if p := cfg.Connectors[2].SAML.Provider; p.Signing == nil || p.Decryption != nil || !cfg.Connectors[2].SAML.LogoutUpstream {
		t.Errorf("keys of ours: %+v", p)
	}
	if n := len(cfg.Connectors[3].SAML.Provider.Certificates); n != 1 {
		t.Errorf("%d certificates", n)
	}
}
