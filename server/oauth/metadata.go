package oauth

import "slices"

// Metadata is the discovery document: OpenID Connect Discovery 1.0 section 3,
// RFC 8414 section 2, OpenID Connect RP-Initiated Logout 1.0 section 2.1 and
// Back-Channel Logout 1.0 section 2.1. It says only what works.
type Metadata struct {
	Issuer                                 string   `json:"issuer"`
	AuthorizationEndpoint                  string   `json:"authorization_endpoint"`
	TokenEndpoint                          string   `json:"token_endpoint"`
	UserinfoEndpoint                       string   `json:"userinfo_endpoint"`
	RevocationEndpoint                     string   `json:"revocation_endpoint"`
	IntrospectionEndpoint                  string   `json:"introspection_endpoint"`
	EndSessionEndpoint                     string   `json:"end_session_endpoint"`
	JWKSURI                                string   `json:"jwks_uri"`
	ScopesSupported                        []string `json:"scopes_supported"`
	ResponseTypesSupported                 []string `json:"response_types_supported"`
	ResponseModesSupported                 []string `json:"response_modes_supported"`
	GrantTypesSupported                    []string `json:"grant_types_supported"`
	ACRValuesSupported                     []string `json:"acr_values_supported"`
	SubjectTypesSupported                  []string `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported       []string `json:"id_token_signing_alg_values_supported"`
	TokenEndpointAuthMethodsSupported      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethodsSupported         []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuthMethodsSupported      []string `json:"introspection_endpoint_auth_methods_supported"`
	ClaimsSupported                        []string `json:"claims_supported"`
	ClaimsParameterSupported               bool     `json:"claims_parameter_supported"`
	RequestParameterSupported              bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported           bool     `json:"request_uri_parameter_supported"`
	CodeChallengeMethodsSupported          []string `json:"code_challenge_methods_supported"`
	PromptValuesSupported                  []string `json:"prompt_values_supported"`
	UILocalesSupported                     []string `json:"ui_locales_supported,omitempty"`
	AuthorizationResponseIssParamSupported bool     `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogoutSupported             bool     `json:"backchannel_logout_supported"`
	BackchannelLogoutSessionSupported      bool     `json:"backchannel_logout_session_supported"`
}

// Paths of the endpoints under the issuer.
const (
	PathAuthorization = "/auth"
	PathToken         = "/token"
	PathUserinfo      = "/userinfo"
	PathRevocation    = "/revoke"
	PathIntrospection = "/token/introspect"
	PathEndSession    = "/logout"
	PathKeys          = "/keys"
)

// NewMetadata describes a server with this policy and these languages.
func NewMetadata(p Policy, uiLocales []string) Metadata {
	m := Metadata{
		Issuer:                            p.Issuer,
		AuthorizationEndpoint:             p.Issuer + PathAuthorization,
		TokenEndpoint:                     p.Issuer + PathToken,
		UserinfoEndpoint:                  p.Issuer + PathUserinfo,
		RevocationEndpoint:                p.Issuer + PathRevocation,
		IntrospectionEndpoint:             p.Issuer + PathIntrospection,
		EndSessionEndpoint:                p.Issuer + PathEndSession,
		JWKSURI:                           p.Issuer + PathKeys,
		ScopesSupported:                   slices.Clone(simpleScopes),
		ResponseTypesSupported:            []string{"code"},
		ResponseModesSupported:            []string{ModeQuery, ModeFormPost},
		GrantTypesSupported:               []string{GrantAuthorizationCode, GrantRefreshToken},
		ACRValuesSupported:                []string{ACRPassword},
		SubjectTypesSupported:             []string{"public"},
		IDTokenSigningAlgValuesSupported:  distinct(p.SigningAlgs),
		TokenEndpointAuthMethodsSupported: slices.Clone(AuthMethods),
		RevocationAuthMethodsSupported:    slices.Clone(AuthMethods),
		IntrospectionAuthMethodsSupported: []string{AuthBasic, AuthPost},
		ClaimsSupported: []string{
			"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid",
			"email", "email_verified", "name", "preferred_username", "groups", "federated_claims",
		},
		CodeChallengeMethodsSupported:          []string{MethodS256},
		PromptValuesSupported:                  slices.Clone(promptValues),
		UILocalesSupported:                     uiLocales,
		AuthorizationResponseIssParamSupported: true,
		BackchannelLogoutSupported:             true,
		BackchannelLogoutSessionSupported:      true,
	}
	if p.PKCEPlain {
		m.CodeChallengeMethodsSupported = append(m.CodeChallengeMethodsSupported, MethodPlain)
	}
	return m
}

// distinct keeps the first of each, in order.
func distinct(values []string) []string {
	out := []string{}
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
