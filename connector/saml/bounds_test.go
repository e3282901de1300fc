package saml

import (
	"strings"
	"testing"
)

// Metadata that are small and expensive are refused before anything takes its time
// over them.
func TestMetadataBounds(t *testing.T) {
	t.Parallel()
	within := func(inside string) string {
		return `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:idp">` + inside + `</EntityDescriptor>`
	}
	for name, c := range map[string]struct{ text, want string }{
		"as they are":     {`<?xml version="1.0"?><?xml-stylesheet href="a"?><!-- a federation -->` + within(strings.Repeat("<Extensions/>", 10000)), "no identity provider"},
		"elements":        {within(strings.Repeat("<Extensions/>", maxMetadataElements)), "too many"},
		"attributes":      {within("<a" + strings.Repeat(` b="c"`, maxMetadataAttributes+1) + "/>"), "too many"},
		"depth":           {within(strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth)), "too many"},
		"without an end":  {strings.Repeat("<a>", maxDepth+1), "too many"},
		"a document type": {`<!DOCTYPE a>` + within(""), "document type"},
		"another one":     {within(`<!doctype a [<!ENTITY b "c">]>`), "document type"},
		"no XML":          {`<a`, "reading them"},
	} {
		if _, err := describe([]byte(c.text), "", ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
