package config

import "regexp"

// dexKeys are keys that Dex has and this version does not. They are not slips,
// so they get an answer instead of a guess. List positions are left out of the
// paths.
var dexKeys = map[string]string{
	"grpc":                                   "there is no gRPC API yet; remove the block",
	"mfa":                                    "second factors belong to the upstream; remove the block",
	"templates":                              "use frontend.dir to replace pages",
	"connectors.config.kerberos":             "there is no Kerberos sign-in; remove the block",
	"connectors.config.adminEmail":           "write domainToAdminEmail: {\"*\": …}",
	"connectors.config.groups":               "write allowedGroups, beside config",
	"connectors.config.tenant":               "write it in issuer: https://login.microsoftonline.com/TENANT-ID/v2.0",
	"connectors.config.useGroupsAsWhitelist": "write filterGroups: true, beside config",
	"connectors.config.hostedDomains":        "say the same in policy, beside config",
	"connectors.config.insecureSkipSignatureValidation": "whoever reaches the callback could sign in as anybody; give the provider's certificate in ca, and remove the key",
	"connectors.grantTypes":                             "remove the key",
	"expiry.deviceRequests":                             "there is no device flow yet; remove the key",
	"logger.excludeFields":                              "remove the key; the log never holds passwords, codes or tokens",
	"oauth2.grantTypes":                                 "the grant types are fixed; remove the key",
	"oauth2.passwordConnector":                          "the password grant is not offered (RFC 9700 section 2.4); remove the key",
	"sessions.cookieEncryptionKey":                      "the cookie holds only a random id; remove the key",
	"staticClients.clientCredentialsClaims":             "there is no client_credentials grant yet; remove the key",
	"staticClients.mfaChain":                            "second factors belong to the upstream; remove the key",
	"web.allowedHeaders":                                "the headers that CORS needs are always allowed; remove the key",
	"web.clientRemoteIP":                                "list the addresses of your proxies in web.trustedProxies; X-Forwarded-For is read from them only",
	"web.headers":                                       "strict security headers are always sent; remove the block",
}

// dexTypes are values of "type" that Dex has and this version does not.
var dexTypes = map[string]map[string]bool{
	"storage": set("memory", "etcd", "kubernetes", "mysql"),
	"signer":  set("vault"),
	"connectors": set("atlassian-crowd", "authproxy", "bitbucket-cloud", "gitea", "gitlab", "google",
		"keystone", "linkedin", "microsoft", "mockCallback", "mockPassword", "oauth", "openshift"),
}

// dexInstead are types of dexTypes that another type does as well: people keep their
// sub, if they keep the id of the connector.
var dexInstead = map[string]string{
	"google":    "type: oidc, with issuer: https://accounts.google.com",
	"microsoft": "type: oidc, with issuer: https://login.microsoftonline.com/TENANT-ID/v2.0 and userIDKey: oid",
}

var position = regexp.MustCompile(`\[\d+\]`)

// dexKey says what to do about a key that only Dex has.
func dexKey(path string) (advice string, ok bool) {
	advice, ok = dexKeys[position.ReplaceAllString(path, "")]
	return advice, ok
}

// dexType reports whether only Dex has this type for the block at path.
func dexType(path, typ string) bool {
	return dexTypes[position.ReplaceAllString(path, "")][typ]
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
