package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/crypto/bcrypt"

	"github.com/countersign/countersign/cmd/countersign/config"
)

// execute runs a command line.
func execute(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

// The exit codes are 0 done, 1 failed, 2 wrong use; what fails says why on
// standard error, and prints nothing else.
func TestExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitOK, "Usage:"},
		{[]string{"--help"}, exitOK, "hash-password"},
		{[]string{"config"}, exitOK, "check"},
		{[]string{"login", "--help"}, exitOK, "RFC 8252"},
		{[]string{"version"}, exitOK, "countersign "},
		{[]string{"versoin"}, exitUsage, `there is no command "versoin"; did you mean "version"?`},
		{[]string{"config", "chekc", "x"}, exitUsage, `there is no command "chekc"; did you mean "check"?`},
		{[]string{"config", "check"}, exitUsage, "accepts 1 arg"},
		{[]string{"config", "check", "a", "b"}, exitUsage, "accepts 1 arg"},
		{[]string{"config", "check", missing}, exitFailure, missing + ": cannot be read"},
		{[]string{"version", "--flag"}, exitUsage, "unknown flag"},
		{[]string{"version", "x"}, exitUsage, "unknown command"},
		{[]string{"login"}, exitUsage, "--issuer and --client-id are required"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--output", "xml"}, exitUsage, "--output"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--timeout", "0s"}, exitUsage, "--timeout"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--timeout", "soon"}, exitUsage, "--timeout"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--client-secret-env", "A", "--client-secret-file", "B"}, exitUsage, "one of"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--client-secret-env", "NOT_SET_ANYWHERE"}, exitFailure, "secret is empty"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--client-secret-file", missing}, exitFailure, "client's secret"},
		{[]string{"login", "--issuer", "https://x", "--client-id", "y", "--ca", missing}, exitFailure, "reading certificates"},
		{[]string{"login", "--issuer", "login.example.com", "--client-id", "y"}, exitFailure, "no http or https URL"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, stdout, stderr := execute(t, "", tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if shown := stdout + stderr; !strings.Contains(shown, tt.want) {
				t.Errorf("printed %q, want %q", shown, tt.want)
			}
			if code != exitOK && stdout != "" {
				t.Errorf("a failure printed %q on standard output", stdout)
			}
			if code == exitUsage && !strings.Contains(stderr, "--help") {
				t.Errorf("wrong use does not lead to help: %q", stderr)
			}
		})
	}
}

func TestInterruptedIsAFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"login", "--issuer", "https://127.0.0.1:1", "--client-id", "y"}, strings.NewReader(""), &out, &errOut)
	if code != exitFailure || errOut.String() != "countersign: interrupted\n" {
		t.Errorf("exit code %d, %q", code, errOut.String())
	}
}

func TestConfigCheck(t *testing.T) {
	code, stdout, stderr := execute(t, "", "config", "check", "../../config.example.yaml")
	if code != exitOK || stdout != "../../config.example.yaml: ok\n" || stderr != "" {
		t.Errorf("the example: exit code %d, %q, %q", code, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("issuer: http://login.example.com\nweb: {http: '127.0.0.1:80'}\nenablePasswordDB: true\n")
	code, stdout, _ = execute(t, "", "config", "check", file)
	if code != exitOK || strings.Count(stdout, file+": warning: ") != 2 || !strings.HasSuffix(stdout, file+": ok\n") {
		t.Errorf("warnings: exit code %d, %q", code, stdout)
	}
	write("isuer: http://login.example.com\nweb: {htp: '127.0.0.1:80'}\nenablePasswordDB: true\n")
	code, stdout, stderr = execute(t, "", "config", "check", file)
	if code != exitFailure || stdout != "" || strings.Count(stderr, file) != 4 ||
		!strings.Contains(stderr, file+":2: web.htp: is not a key; did you mean \"http\"?\n") {
		t.Errorf("problems: exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestHashPassword(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		prefix      string // of the hash; "" is an error
		want        string
	}{
		{"argon2id", "pässword\n", nil, "$argon2id$v=19$m=19456,t=2,p=1$", ""},
		{"bcrypt", "password", []string{"--bcrypt"}, "$2a$12$", ""},
		{"crlf", "password\r\n", nil, "$argon2id$", ""},
		{"spaces are kept", "  ", nil, "$argon2id$", ""},
		{"empty", "", nil, "", "is empty"},
		{"empty line", "\n", nil, "", "is empty"},
		{"two lines", "a\nb\n", nil, "", "more than one line"},
		{"two newlines", "a\n\n", nil, "", "more than one line"},
		{"long bcrypt", strings.Repeat("x", 73), []string{"--bcrypt"}, "", "leave out --bcrypt"},
		{"longest bcrypt", strings.Repeat("x", 72), []string{"--bcrypt"}, "$2a$12$", ""},
		{"long argon2id", strings.Repeat("x", 1024) + "\r\n", nil, "$argon2id$", ""},
		{"too long", strings.Repeat("x", 1025), nil, "", "more than 1024 bytes"},
		{"endless", strings.Repeat("x", 1<<20), nil, "", "more than 1024 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := execute(t, tt.stdin, append([]string{"hash-password"}, tt.args...)...)
			if tt.prefix == "" {
				if code != exitFailure || stdout != "" || !strings.Contains(stderr, tt.want) {
					t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
				}
				return
			}
			if code != exitOK || !strings.HasPrefix(stdout, tt.prefix) || strings.Count(stdout, "\n") != 1 || stderr != "" {
				t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

// What hash-password makes is what the configuration accepts.
func TestHashesAreAccepted(t *testing.T) {
	for _, useBcrypt := range []bool{false, true} {
		hash, err := hashPassword("password", useBcrypt, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text := "issuer: http://127.0.0.1/dex\nweb: {http: '127.0.0.1:80'}\nenablePasswordDB: true\n" +
			"staticPasswords: [{email: a@example.com, userID: a, hash: '" + hash + "'}]\n"
		cfg, err := config.Parse("FILE", []byte(text), config.Outside{})
		if err != nil {
			t.Fatal(err)
		}
		if useBcrypt && bcrypt.CompareHashAndPassword([]byte(cfg.StaticPasswords[0].Hash), []byte("password")) != nil {
			t.Error("the hash is not of the password")
		}
	}
	if _, err := hashPassword("password", false, iotest.ErrReader(os.ErrClosed)); err == nil {
		t.Error("a hash was made without a salt")
	}
}

func TestAskTwice(t *testing.T) {
	for _, tt := range []struct {
		answers []string
		want    string
		fails   bool
	}{
		{[]string{"secret", "secret"}, "secret", false},
		{[]string{"secret", "secert"}, "", true},
		{[]string{"secret", ""}, "", true},
		{[]string{""}, "", false}, // hashPassword refuses it
	} {
		answers := tt.answers
		got, err := askTwice(func(string) (string, error) {
			answer := answers[0]
			answers = answers[1:]
			return answer, nil
		})
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%q: got %q, %v", tt.answers, got, err)
		}
	}
}

func TestVersionText(t *testing.T) {
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := versionText("v1.2.3", info); !strings.HasPrefix(got, "countersign v1.2.3 0123456789ab+changes go1.") {
		t.Errorf("got %q", got)
	}
	info.Main.Version = "v1.0.0"
	if got := versionText("", info); !strings.HasPrefix(got, "countersign v1.0.0 ") {
		t.Errorf("got %q", got)
	}
	if got := versionText("", nil); !strings.HasPrefix(got, "countersign (devel) go1.") {
		t.Errorf("got %q", got)
	}
}
