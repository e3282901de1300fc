package npm

import (
	"os"
	"path/filepath"
	"testing"
)

// What is installed is what is locked, but for what is not for this machine.
func TestSame(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "package-lock.json")
	read := func(packages string) map[string]lock {
		t.Helper()
		if err := os.WriteFile(file, []byte(`{"lockfileVersion":3,"packages":{"":{"name":"x"},`+packages+`}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := locked(file)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	wanted := read(`"a":{"integrity":"sha512-1","dev":true},"b":{"integrity":"sha512-2","optional":true}`)
	for packages, want := range map[string]bool{
		`"a":{"integrity":"sha512-1"},"b":{"integrity":"sha512-2"}`:                            true,
		`"a":{"integrity":"sha512-1"}`:                                                         true,
		`"b":{"integrity":"sha512-2"}`:                                                         false,
		`"a":{"integrity":"sha512-x"}`:                                                         false,
		`"a":{"integrity":"sha512-1"},"b":{"integrity":"sha512-x"}`:                            false,
		`"a":{"integrity":"sha512-1"},"c":{"integrity":"sha512-3"}`:                            false,
		`"a":{"integrity":"sha512-1"},"a/node_modules/b":{"integrity":"sha512-2"}`:             false,
		`"a":{"integrity":"sha512-1"},"b":{"integrity":"sha512-2","optional":true,"dev":true}`: true,
	} {
		if got := same(wanted, read(packages)); got != want {
			t.Errorf("%s: %v", packages, got)
		}
	}
	if _, err := locked(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a lock file that is not there was read")
	}
}
