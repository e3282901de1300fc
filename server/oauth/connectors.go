package oauth

import (
	"slices"
	"strings"

	"github.com/countersign/countersign/storage"
)

// Connector is what the core knows of a configured upstream.
type Connector struct {
	ID string
	// Hidden connectors are not offered; a client can name them, and a login_hint
	// choose them.
	Hidden bool
	// EmailDomains are the domains whose people use this connector, lower case:
	// a login_hint in one of them chooses it.
	EmailDomains []string
}

// Choices returns the connectors a person may choose from at a client, in the
// configured order.
func Choices(connectors []Connector, client storage.Client) []Connector {
	return slices.DeleteFunc(slices.Clone(connectors), func(c Connector) bool {
		return c.Hidden || !allowed(client, c.ID)
	})
}

// AllowedConnector reports whether the person may authenticate at a connector
// for this request: it exists, the client allows it, and the request did not ask
// for another.
func AllowedConnector(r AuthorizeRequest, connectors []Connector, client storage.Client, id string) bool {
	return configured(connectors, id) && allowed(client, id) && (r.ConnectorID == "" || r.ConnectorID == id)
}

func allowed(client storage.Client, connectorID string) bool {
	return len(client.AllowedConnectors) == 0 || slices.Contains(client.AllowedConnectors, connectorID)
}

func configured(connectors []Connector, id string) bool {
	return slices.ContainsFunc(connectors, func(c Connector) bool { return c.ID == id })
}

// connector decides where to authenticate: the connector that the request names,
// the one that the login_hint belongs to, the only one there is; else the person is
// asked.
func (s Situation) connector(p Policy) (NextStep, error) {
	if id := s.Request.ConnectorID; id != "" {
		if !AllowedConnector(s.Request, s.Connectors, s.Client, id) {
			return NextStep{}, s.Request.Refuse(InvalidRequest, "connector_id is unknown or not allowed for this client")
		}
		return NextStep{StepLogin, id}, nil
	}
	if id, ok := s.hinted(); ok {
		return NextStep{StepLogin, id}, nil
	}
	choices := Choices(s.Connectors, s.Client)
	switch len(choices) {
	case 0:
		return NextStep{}, s.Request.Refuse(AccessDenied, "no connector is available for this client")
	case 1:
		if !p.AlwaysChooseConnector {
			return NextStep{StepLogin, choices[0].ID}, nil
		}
	}
	return NextStep{Step: StepChooseConnector}, nil
}

// hinted finds the only connector, hidden or not, whose e-mail domains hold the
// login_hint's. Domains are configured, so the answer tells nothing about who exists.
func (s Situation) hinted() (id string, ok bool) {
	hint := s.Request.LoginHint
	at := strings.LastIndexByte(hint, '@')
	if at < 0 {
		return "", false
	}
	domain := strings.ToLower(hint[at+1:])
	for _, c := range s.Connectors {
		if allowed(s.Client, c.ID) && slices.Contains(c.EmailDomains, domain) {
			if ok {
				return "", false
			}
			id, ok = c.ID, true
		}
	}
	return id, ok
}
