package config

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const example = "../../../config.example.yaml"

func exampleText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// nothing is an environment without variables.
func nothing(string) (string, bool) { return "", false }

// The example is what the README and `make run` promise.
func TestExample(t *testing.T) {
	cfg, err := Load(example, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("the example warns: %q", cfg.Warnings)
	}
	got := []any{cfg.Issuer, cfg.Web.HTTP, cfg.Telemetry.HTTP, cfg.Storage.SQLite3.File, cfg.EnablePasswordDB, len(cfg.StaticClients)}
	want := []any{"http://127.0.0.1:5556/dex", "127.0.0.1:5556", "127.0.0.1:5558", "data/countersign.db", true, 1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	admin := cfg.StaticPasswords[0]
	if admin.Email != "admin@example.com" || admin.UserID != "08a8684b-db88-4b73-90a9-3cd1661f5466" || admin.Username != "admin" {
		t.Errorf("the demo user is %+v", admin)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(admin.Hash), []byte("password")); err != nil {
		t.Errorf("the demo password: %v", err)
	}
	if demo := cfg.StaticClients[0]; demo.ID != "demo" || demo.Name != "Demo" || !demo.Public {
		t.Errorf("the demo client is %+v", demo)
	}
}

// A key that the example does not explain does not exist for operators.
func TestExampleHasEveryKey(t *testing.T) {
	text := exampleText(t)
	count := 0
	visit(reflect.TypeFor[Config](), "", func(path string, k key) {
		count++
		if !regexp.MustCompile(`(?m)^#? *(- |\{.*)?` + regexp.QuoteMeta(k.name) + `:`).MatchString(text) {
			t.Errorf("%s is not in the example", path)
		}
	})
	if count < 100 {
		t.Errorf("walked over %d keys only", count)
	}
}

// The lines that are commented out are right too: with all of them set, what is
// wrong is only that alternatives stand beside each other and that the files and
// variables are not here.
func TestExampleUncommented(t *testing.T) {
	// A key or a list entry directly behind the sign, not a sentence.
	setting := regexp.MustCompile(`(?m)^#( *(?:- )?[A-Za-z0-9]+:(?: |$)| *- )`)
	text := setting.ReplaceAllString(exampleText(t), "$1")
	_, err := Parse("FILE", []byte(text), Outside{
		Env:      nothing,
		ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		Stat:     func(string) (fs.FileInfo, error) { return nil, fs.ErrNotExist },
	})
	var bad *Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %v", err)
	}
	expected := regexp.MustCompile(`is given beside|is given twice|stands beside dsn|is not set|cannot be read|is no folder`)
	for _, p := range bad.Problems {
		if !expected.MatchString(p.Message) {
			t.Errorf("line %d: %s: %s", p.Line, p.Path, p.Message)
		}
	}
	for _, path := range []string{"storage.config.host", "staticPasswords[0].hashFromEnv", "web.tlsCert"} {
		if !strings.Contains(err.Error(), path+":") {
			t.Errorf("%s was not walked", path)
		}
	}
}
