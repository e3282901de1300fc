package web

// ChooseConnector asks how the person wants to sign in. The choices are links: a
// choice changes nothing yet.
type ChooseConnector struct {
	Client     Client
	Connectors []ConnectorLink
}

// ConnectorLink is one choice. Type (local, ldap, saml, github, oidc) picks the
// picture; unknown ones get a plain one.
type ConnectorLink struct {
	Name string
	URL  string
	Type string
	// Down: signing in there does not work at the moment. It is still a choice, as
	// it may be up again.
	Down bool
}

func (ChooseConnector) template() string { return "choose_connector" }
func (p ChooseConnector) client() Client { return p.Client }
