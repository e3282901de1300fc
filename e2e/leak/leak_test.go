package leak_test

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/e2e/leak"
)

func TestToken(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("Ab-_", 10)
	for _, text := range []string{
		"csr_" + long, `{"code":"csc_x"}`, "token=csa_AAAA", "state%3Dcsr_" + long, "xcsa_" + long,
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.sig", "id_token_hint%3DeyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.",
	} {
		if leak.Token(text) == "" {
			t.Errorf("%s: no token is found", text)
		}
	}
	for _, text := range []string{
		"", `"sid":"0eg5eOHrCeyJX8Op4jOpgA"`, `"sid":"eyJX8Op4jOpgA0eg5eOHrC","sub":"CgVhbGljZRIFbG9jYWw"`, `"sid":"0eg5ecsr_HrCeyJX8Op4jO"`,
	} {
		if token := leak.Token(text); token != "" {
			t.Errorf("%s: %s is taken for a token", text, token)
		}
	}
}
