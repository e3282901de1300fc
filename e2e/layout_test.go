// Package e2e_test holds tests of the whole: of the built program, and of how
// its packages may know one another.
package e2e_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign/countersign/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string // those of tests excepted: tests may know everything
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for decoder := json.NewDecoder(out); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return list
}

// Direction: cmd -> server and the implementations; server -> its rooms; rooms ->
// oauth and the contracts of storage and connectors.
func TestImportDirection(t *testing.T) {
	for _, p := range packages(t) {
		importer := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if rule := broken(importer, imported); rule != "" {
				t.Errorf("%s imports %s: %s", importer, imported, rule)
			}
		}
	}
}

// broken returns the rule that an import breaks. Paths inside the module are
// relative for the importer, whole for what it imports, as `go list` has them.
func broken(importer, imported string) string {
	if in(importer, "server/oauth") {
		if rule := impure(imported); rule != "" {
			return rule
		}
	}
	inside, ours := strings.CutPrefix(imported, module)
	if !ours || in(importer, "cmd") || in(importer, "e2e") {
		return ""
	}
	switch {
	case in(inside, "cmd"), in(inside, "e2e"):
		return "only the program and its tests know the whole"
	case isTestHelp(inside) && !isTestHelp(importer):
		return "the product does not contain its tests"
	case importer == "storage", in(importer, "api"):
		return "a contract stands on nothing of ours"
	case in(inside, "server") && !in(importer, "server"):
		return "storage and connectors do not know who uses them"
	case isImplementation(inside) && room(inside) != room(importer) && !isTestHelp(importer):
		return "only the program knows the implementations by name"
	}
	return ""
}

// impure says why the protocol core may not import a package.
func impure(imported string) string {
	if inside, ours := strings.CutPrefix(imported, module); ours {
		if inside == "storage" || in(inside, "server/oauth") {
			return ""
		}
		return "the protocol core knows records and nothing else of ours"
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return "the protocol core stands on the standard library"
	}
	for _, doing := range []string{"context", "net/http", "database/sql", "log", "os", "crypto/rand", "math/rand", "embed", "io/fs"} {
		if in(imported, doing) {
			return "the protocol core decides and does nothing"
		}
	}
	return ""
}

// in reports that path is the package dir or below it.
func in(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// room is the package of the first two elements: storage/sqlite, connector/ldap.
func room(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// isTestHelp reports storagetest, connectortest and what is below them.
func isTestHelp(path string) bool { return strings.HasSuffix(room(path), "test") }

// isImplementation reports a storage engine or a connector: what is neither the
// contract nor what several share.
func isImplementation(path string) bool {
	others := []string{"storage", "storage/migrate", "connector", "connector/upstream"}
	return (in(path, "storage") || in(path, "connector")) && !slices.Contains(others, path) && !isTestHelp(path)
}

// The core is told the time.
func TestProtocolCoreReadsNoClock(t *testing.T) {
	for _, p := range packages(t) {
		if !in(strings.TrimPrefix(p.ImportPath, module), "server/oauth") {
			continue
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.SelectorExpr); ok && readsClock(call) {
					t.Errorf("%s reads the clock", files.Position(call.Pos()))
				}
				return true
			})
		}
	}
}

func readsClock(call *ast.SelectorExpr) bool {
	of, ok := call.X.(*ast.Ident)
	return ok && of.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "NewTimer", "Sleep"}, call.Sel.Name)
}

func TestRulesOfDirection(t *testing.T) {
	for _, c := range []struct {
		importer, imported string
		allowed            bool
	}{
		{"cmd/countersign", module + "storage/postgres", true},
		{"cmd/countersign", module + "connector/local", true},
		{"cmd/countersign", module + "server", true},
		{"server", module + "storage", true},
		{"server/flow", module + "connector", true},
		{"server/flow", module + "server/oauth", true},
		{"server/keys", "github.com/go-jose/go-jose/v4", true},
		{"server", module + "storage/sqlite", false},
		{"connector/oidc", module + "connector/upstream", true},
		{"connector/oidc", module + "connector/github", false},
		{"server/flow", module + "connector/local", false},
		{"server", module + "storage/storagetest", false},
		{"server", module + "cmd/countersign", false},
		{"server/oauth", module + "storage", true},
		{"server/oauth", "net/url", true},
		{"server/oauth", "crypto/sha256", true},
		{"server/oauth", "time", true},
		{"server/oauth", "net/http", false},
		{"server/oauth", "context", false},
		{"server/oauth", "log/slog", false},
		{"server/oauth", "database/sql", false},
		{"server/oauth", "crypto/rand", false},
		{"server/oauth", "math/rand/v2", false},
		{"server/oauth", module + "connector", false},
		{"server/oauth", module + "server/seal", false},
		{"server/oauth", "golang.org/x/oauth2", false},
		{"storage", module + "connector", false},
		{"storage", module + "storage/sqlite", false},
		{"storage/sqlite", module + "storage", true},
		{"storage/sqlite", module + "storage/migrate", true},
		{"storage/sqlite", module + "storage/postgres", false},
		{"storage/postgres", module + "server/seal", false},
		{"storage/postgres", module + "storage/storagetest", false},
		{"storage/storagetest", module + "storage/storagetest/pgcluster", true},
		{"connector/local", module + "connector", true},
		{"connector/local", module + "storage", true},
		{"connector/local", module + "storage/sqlite", false},
		{"connector/ldap", module + "connector/saml", false},
		{"connector/ldap", module + "connector/ldap/filter", true},
		{"connector/ldap", module + "server", false},
		{"api/countersign/v1", module + "storage", false},
		{"e2e/testenv", module + "storage/storagetest/pgcluster", true},
	} {
		if rule := broken(c.importer, c.imported); (rule == "") != c.allowed {
			t.Errorf("%s imports %s: %q", c.importer, c.imported, rule)
		}
	}
}
