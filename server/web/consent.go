package web

import "strings"

// Consent asks whether the client may know what it asks for. It posts
// `approval=approve` or `approval=deny`, and `subject`.
type Consent struct {
	Client Client
	Person Person
	// Scopes are the requested scopes (RFC 6749 section 3.3), shown as sentences.
	Scopes []string
	Action string
	// Subject binds the answer to the person who is named on the page.
	Subject string
}

func (Consent) template() string { return "consent" }
func (p Consent) client() Client { return p.Client }

// scopeTexts are the sentences of the scopes that stand for themselves.
var scopeTexts = map[string]string{
	"openid":         "scope.openid",
	"profile":        "scope.profile",
	"email":          "scope.email",
	"groups":         "scope.groups",
	"offline_access": "scope.offline_access",
	"federated:id":   "scope.federated_id",
}

const audiencePrefix = "audience:server:client_id:"

// Sentences say what the scopes mean. An unknown scope is named: it is asked for,
// so it is not hidden.
func (p Consent) Sentences() []Phrase {
	var phrases []Phrase
	for _, scope := range p.Scopes {
		if key, ok := scopeTexts[scope]; ok {
			phrases = append(phrases, Phrase{Key: key})
		} else if audience, ok := strings.CutPrefix(scope, audiencePrefix); ok {
			phrases = append(phrases, Phrase{Key: "scope.audience", Value: audience})
		} else {
			phrases = append(phrases, Phrase{Key: "scope.other", Value: scope})
		}
	}
	return phrases
}
