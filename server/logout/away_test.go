package logout

import (
	"net/http"
	"testing"
)

// The cookie of a departure is for its way back alone, and for no script.
func TestAwayCookie(t *testing.T) {
	for secure, name := range map[bool]string{false: "countersign_logout", true: "__Secure-countersign_logout"} {
		e := &Endpoint{cfg: Config{Path: "/dex/logout", Secure: secure}}
		c := e.cookie("id", "value", 60)
		if c.Name != name || c.Path != "/dex/logout/away/id" || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 60 || c.Domain != "" {
			t.Errorf("%+v", c)
		}
		if err := c.Valid(); err != nil {
			t.Error(err)
		}
	}
}
