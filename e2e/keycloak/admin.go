package keycloak

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The administrator.
const (
	admin         = "admin"
	adminPassword = "password of the tests"
)

// The people of a realm. The password of each is Password; each is in the groups
// staff and admins.
const (
	Ada      = "ada"
	Bob      = "bob"
	Password = "correct horse"
)

// Staff and Admins are the groups.
const (
	Staff  = "staff"
	Admins = "admins"
)

//go:embed realm.json
var realmJSON string

// OpenIDClient is the OpenID Connect client of a realm.
const OpenIDClient = "countersign"

// Clients are what a realm knows of its relying parties from its beginning.
type Clients struct {
	// Secret is that of OpenIDClient.
	Secret string
	// EntityID is the id of the SAML client, which signs its requests, and
	// Certificate its certificate in DER.
	EntityID    string
	Certificate []byte
}

// Realm is a realm of a Server.
type Realm struct {
	s *Server
	// Name is in its addresses; URL is the OpenID issuer and the SAML entity id.
	Name, URL string
}

// Realm is the realm with that name, whether there is one yet or not.
func (s *Server) Realm(name string) *Realm {
	return &Realm{s: s, Name: name, URL: s.URL + "/realms/" + name}
}

// Import makes the realm, with the people, groups and clients of realm.json. Its
// name is in lower case.
func (r *Realm) Import(t testing.TB, c Clients) {
	t.Helper()
	text := strings.NewReplacer("{realm}", r.Name, "{secret}", c.Secret, "{entityID}", c.EntityID,
		"{certificate}", base64.StdEncoding.EncodeToString(c.Certificate)).Replace(realmJSON)
	r.s.do(t, http.MethodPost, "/admin/realms", json.RawMessage(text), nil)
}

// SendBack says where people are sent back to by a client.
func (r *Realm) SendBack(t testing.TB, client, callback string) {
	t.Helper()
	whole := r.client(t, client)
	whole["redirectUris"] = []string{callback}
	r.s.do(t, http.MethodPut, r.path(fmt.Sprintf("/clients/%s", whole["id"])), whole, nil)
}

// WarmUp looks at the sign-in page: the first one takes Keycloak many seconds, which
// no browser is to wait for.
func (r *Realm) WarmUp(t testing.TB) {
	t.Helper()
	page := r.URL + "/protocol/openid-connect/auth?" + url.Values{
		"client_id": {"account-console"}, "response_type": {"code"}, "redirect_uri": {r.URL + "/account/"}, "scope": {"openid"},
		"code_challenge_method": {"S256"}, "code_challenge": {strings.Repeat("x", 43)},
	}.Encode()
	looking, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer(looking, nil); err != nil {
		t.Fatalf("looking at the sign-in page: %v", err)
	}
}

// Encrypt chooses the algorithms of a SAML client's assertions, by their identifiers in
// XML Encryption.
func (r *Realm) Encrypt(t testing.TB, client, content, key, digest, mask string) {
	t.Helper()
	whole := r.client(t, client)
	attributes, _ := whole["attributes"].(map[string]any)
	attributes["saml.encryption.algorithm"], attributes["saml.encryption.keyAlgorithm"] = content, key
	attributes["saml.encryption.digestMethod"], attributes["saml.encryption.maskGenerationFunction"] = digest, mask
	r.s.do(t, http.MethodPut, r.path(fmt.Sprintf("/clients/%s", whole["id"])), whole, nil)
}

// Register adds a SAML client by its own metadata, as the admin console does with
// an uploaded file, and the mappers of another client. It reports whether Keycloak
// will encrypt.
func (r *Realm) Register(t testing.TB, metadata []byte, like string) (encrypted bool) {
	t.Helper()
	var client map[string]any
	r.s.send(t, http.MethodPost, r.path("/client-description-converter"), "application/xml", metadata, &client)
	mappers, _ := r.client(t, like)["protocolMappers"].([]any)
	for _, m := range mappers {
		delete(m.(map[string]any), "id")
	}
	client["protocolMappers"] = mappers
	r.s.do(t, http.MethodPost, r.path("/clients"), client, nil)
	id, _ := client["clientId"].(string)
	attributes, _ := r.client(t, id)["attributes"].(map[string]any)
	return attributes["saml.encrypt"] == "true"
}

func (r *Realm) client(t testing.TB, id string) map[string]any {
	t.Helper()
	var found []map[string]any
	r.s.do(t, http.MethodGet, r.path("/clients?clientId="+url.QueryEscape(id)), nil, &found)
	if len(found) != 1 {
		t.Fatalf("there are %d clients %q", len(found), id)
	}
	return found[0]
}

// Leave takes somebody out of a group.
func (r *Realm) Leave(t testing.TB, user, group string) {
	t.Helper()
	path := r.path("/users/" + r.user(t, user) + "/groups")
	var groups []struct{ ID, Name string }
	r.s.do(t, http.MethodGet, path, nil, &groups)
	for _, g := range groups {
		if g.Name == group {
			r.s.do(t, http.MethodDelete, path+"/"+g.ID, nil, nil)
			return
		}
	}
	t.Fatalf("%s is in no group %s", user, group)
}

// Disable ends an account.
func (r *Realm) Disable(t testing.TB, user string) {
	t.Helper()
	path := r.path("/users/" + r.user(t, user))
	var whole map[string]any
	r.s.do(t, http.MethodGet, path, nil, &whole)
	whole["enabled"] = false
	r.s.do(t, http.MethodPut, path, whole, nil)
}

// SignOut ends all that somebody is signed in to.
func (r *Realm) SignOut(t testing.TB, user string) {
	t.Helper()
	r.s.do(t, http.MethodPost, r.path("/users/"+r.user(t, user)+"/logout"), nil, nil)
}

// user is the id of somebody.
func (r *Realm) user(t testing.TB, name string) string {
	t.Helper()
	var found []struct{ ID string }
	r.s.do(t, http.MethodGet, r.path("/users?exact=true&username="+url.QueryEscape(name)), nil, &found)
	if len(found) != 1 {
		t.Fatalf("there are %d users %q", len(found), name)
	}
	return found[0].ID
}

// RollOver makes a new RSA key that signs from now on, and forgets the ones so far.
func (r *Realm) RollOver(t testing.TB) {
	t.Helper()
	var realm struct{ ID string }
	r.s.do(t, http.MethodGet, r.path(""), nil, &realm)
	type component struct {
		ID           string              `json:"id,omitempty"`
		Name         string              `json:"name"`
		ParentID     string              `json:"parentId"`
		ProviderID   string              `json:"providerId"`
		ProviderType string              `json:"providerType"`
		Config       map[string][]string `json:"config"`
	}
	const generated = "rsa-generated"
	var keys []component
	r.s.do(t, http.MethodGet, r.path("/components?type=org.keycloak.keys.KeyProvider"), nil, &keys)
	r.s.do(t, http.MethodPost, r.path("/components"), component{
		Name: "new", ParentID: realm.ID, ProviderID: generated, ProviderType: "org.keycloak.keys.KeyProvider",
		Config: map[string][]string{"priority": {"200"}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"}},
	}, nil)
	for _, k := range keys {
		if k.ProviderID == generated {
			r.s.do(t, http.MethodDelete, r.path("/components/"+k.ID), nil, nil)
		}
	}
}

func (r *Realm) path(path string) string { return "/admin/realms/" + r.Name + path }

// do calls the admin API with JSON. body and into may be nil.
func (s *Server) do(t testing.TB, method, path string, body, into any) {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	s.send(t, method, path, "application/json", text, into)
}

func (s *Server) send(t testing.TB, method, path, kind string, body []byte, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+s.token(t))
	if err := answer(r, into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// token is a new one of the administrator's: they live for a minute.
func (s *Server) token(t testing.TB) string {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {admin}, "password": {adminPassword}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/realms/master/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var token struct {
		Value string `json:"access_token"`
	}
	if err := answer(r, &token); err != nil {
		t.Fatalf("signing the administrator in: %v", err)
	}
	return token.Value
}

// answer sends a request, and reads the JSON that answers it.
func answer(r *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s: %s", resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
