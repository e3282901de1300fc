package config

import "slices"

// OAuth2 changes what the protocol endpoints accept.
type OAuth2 struct {
	// ResponseTypes may be [code], which is all there is (RFC 9700 section 2.1.2).
	ResponseTypes []string `mapstructure:"responseTypes"`
	// SkipApprovalScreen lets people in without asking for their consent.
	// Default: false.
	SkipApprovalScreen bool `mapstructure:"skipApprovalScreen"`
	// AlwaysShowLoginScreen shows the choice of connectors also when there is
	// only one. Default: false.
	AlwaysShowLoginScreen bool `mapstructure:"alwaysShowLoginScreen"`
	// PKCE is proof key for code exchange (RFC 7636).
	PKCE PKCE `mapstructure:"pkce"`
	// AccessTokenFormat is "opaque" (default), revoked at once, or "jwt" (RFC
	// 9068), checked without asking this server.
	AccessTokenFormat string `mapstructure:"accessTokenFormat"`
}

// PKCE is proof key for code exchange (RFC 7636). Public clients always need it.
type PKCE struct {
	// Enforce asks it of confidential clients too. Default: false.
	Enforce bool `mapstructure:"enforce"`
	// CodeChallengeMethodsSupported are S256, and plain for old clients. Default:
	// [S256].
	CodeChallengeMethodsSupported []string `mapstructure:"codeChallengeMethodsSupported"`
}

func (c *checker) oauth2() {
	o := &c.cfg.OAuth2
	if c.given("oauth2.responseTypes") && !slices.Equal(o.ResponseTypes, []string{"code"}) {
		c.problem("oauth2.responseTypes", "may only be [code]: the implicit and hybrid flows are known from Dex, but not offered (RFC 9700 section 2.1.2)")
	}
	o.ResponseTypes = []string{"code"}
	const methods = "oauth2.pkce.codeChallengeMethodsSupported"
	for i, m := range o.PKCE.CodeChallengeMethodsSupported {
		c.oneOf(index(methods, i), m, "S256", "plain")
	}
	if !slices.Contains(o.PKCE.CodeChallengeMethodsSupported, "S256") {
		c.problem(methods, "lacks S256, which every client must be able to use (RFC 7636 section 4.2): add it")
	}
	c.oneOf("oauth2.accessTokenFormat", o.AccessTokenFormat, "opaque", "jwt")
}
