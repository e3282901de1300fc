package local_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/connector/local"
	"github.com/countersign/countersign/e2e/fuzz"
)

func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), local.MinBcryptCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// argonOf makes a cheap argon2id hash.
func argonOf(password string, memory, passes uint32) string {
	salt := []byte("0123456789abcdef")
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", memory, passes, b64.EncodeToString(salt),
		b64.EncodeToString(argon2.IDKey([]byte(password), salt, passes, memory, 1, 32)))
}

func open(t testing.TB, passwords ...local.Password) *local.Connector {
	t.Helper()
	c, err := local.New(passwords)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLogin(t *testing.T) {
	c := open(t,
		local.Password{Email: "Ada@Example.com", Hash: argonOf("engine", 8<<10, 1), UserID: "1", Username: "ada", Groups: []string{"dev", "ops"}, EmailVerified: true},
		local.Password{Email: "bob@example.com", Hash: argonOf("builder", 7<<10, 1), UserID: "2", Username: "bob", Name: "Bob B.", PreferredUsername: "bobby"},
		local.Password{Email: "müller@example.com", Hash: argonOf("straße", 7<<10, 1), UserID: "3", Username: "m"},
	)
	ada := connector.Identity{UserID: "1", Name: "ada", Email: "Ada@Example.com", EmailVerified: true, Groups: []string{"dev", "ops"}, AMR: []string{"pwd"}}
	bob := connector.Identity{UserID: "2", Name: "Bob B.", PreferredUsername: "bobby", Email: "bob@example.com", AMR: []string{"pwd"}}
	muller := connector.Identity{UserID: "3", Name: "m", Email: "müller@example.com", AMR: []string{"pwd"}}
	none := connector.Identity{}
	for name, tc := range map[string]struct {
		username, password string
		want               connector.Identity
	}{
		"as configured":           {"Ada@Example.com", "engine", ada},
		"another case":            {"aDA@eXAMPLE.COM", "engine", ada},
		"spaces around":           {" ada@example.com\t", "engine", ada},
		"all names":               {"bob@example.com", "builder", bob},
		"folded":                  {"MÜLLER@example.com", "straße", muller},
		"decomposed":              {"mu\u0308ller@example.com", "straße", muller},
		"wrong password":          {"ada@example.com", "Engine", none},
		"somebody else's":         {"ada@example.com", "builder", none},
		"a stranger, a real one":  {"eve@example.com", "engine", none},
		"a stranger, the other":   {"eve@example.com", "builder", none},
		"empty password":          {"ada@example.com", "", none},
		"blank password":          {"ada@example.com", " ", none},
		"empty user":              {"", "engine", none},
		"both empty":              {"", "", none},
		"NUL after the password":  {"ada@example.com", "engine\x00", none},
		"too long":                {"bob@example.com", strings.Repeat("x", local.MaxPasswordBytes+1), none},
		"user name of a megabyte": {strings.Repeat("a", 1<<20) + "@example.com", "engine", none},
		"not UTF-8":               {"ada@example.com\xff", "engine", none},
		"dotted capital I":        {"bob@examp\u0130e.com", "builder", none},
		"the hash as password":    {"bob@example.com", argonOf("builder", 7<<10, 1), none},
		"address in brackets":     {"<ada@example.com>", "engine", none},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Login(t.Context(), tc.username, tc.password)
			if tc.want.UserID == "" && err != connector.ErrInvalidCredentials { // nothing may be wrapped around it
				t.Errorf("error %v, want exactly ErrInvalidCredentials", err)
			}
			if tc.want.UserID != "" && err != nil {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBcrypt(t *testing.T) {
	hash := bcryptOf(t, "engine")
	c := open(t,
		local.Password{Email: "a@example.com", Hash: "$2y" + hash[3:], UserID: "1"},
		local.Password{Email: "b@example.com", Hash: base64.StdEncoding.EncodeToString([]byte(hash)), UserID: "2"})
	for _, email := range []string{"a@example.com", "b@example.com"} {
		if _, err := c.Login(t.Context(), email, "engine"); err != nil {
			t.Errorf("%s: %v", email, err)
		}
		if _, err := c.Login(t.Context(), email, "motor"); !errors.Is(err, connector.ErrInvalidCredentials) {
			t.Errorf("%s, wrong password: %v", email, err)
		}
	}
}

// A password that is cut to 72 bytes would be right whatever follows them.
func TestBcryptIsNotTruncated(t *testing.T) {
	long := strings.Repeat("p", 72)
	c := open(t, local.Password{Email: "a@example.com", Hash: bcryptOf(t, long), UserID: "1"})
	if _, err := c.Login(t.Context(), "a@example.com", long); err != nil {
		t.Errorf("72 bytes: %v", err)
	}
	for _, more := range []string{"p", strings.Repeat("p", 72)} {
		if _, err := c.Login(t.Context(), "a@example.com", long+more); !errors.Is(err, connector.ErrInvalidCredentials) {
			t.Errorf("%d bytes: %v", len(long+more), err)
		}
	}
}

func TestIdentityIsTheCallersOwn(t *testing.T) {
	groups := []string{"dev"}
	c := open(t, local.Password{Email: "a@example.com", Hash: argonOf("p", 7<<10, 1), UserID: "1", Groups: groups})
	groups[0] = "admin"
	for range 2 {
		id, err := c.Login(t.Context(), "a@example.com", "p")
		if err != nil || id.Groups[0] != "dev" || id.AMR[0] != "pwd" {
			t.Fatalf("%+v, %v", id, err)
		}
		id.Groups[0], id.AMR[0] = "admin", "hwk"
	}
}

func TestNewRefuses(t *testing.T) {
	good := local.Password{Email: "a@example.com", Hash: argonOf("p", 7<<10, 1), UserID: "1"}
	with := func(change func(*local.Password)) []local.Password {
		p := local.Password{Email: "b@example.com", Hash: good.Hash, UserID: "2"}
		change(&p)
		return []local.Password{good, p}
	}
	for want, list := range map[string][]local.Password{
		"email is empty":               with(func(p *local.Password) { p.Email = " " }),
		"email is on the list already": with(func(p *local.Password) { p.Email = "A@EXAMPLE.com" }),
		"userID is empty":              with(func(p *local.Password) { p.UserID = "" }),
		"userID is that of":            with(func(p *local.Password) { p.UserID = "1" }),
		"hash is empty":                with(func(p *local.Password) { p.Hash = "" }),
		"hash is neither":              with(func(p *local.Password) { p.Hash = "password" }),
	} {
		if _, err := local.New(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	bad := local.Password{}
	if _, err := local.New([]local.Password{bad, bad, good}); strings.Count(fmt.Sprint(err), "email is empty") != 2 {
		t.Errorf("not all problems at once: %v", err)
	}
}

func TestLoginHonoursContext(t *testing.T) {
	c := open(t, local.Password{Email: "a@example.com", Hash: argonOf("p", 7<<10, 1), UserID: "1"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Login(ctx, "a@example.com", "p"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	c := open(t, local.Password{Email: "a@example.com", Hash: argonOf("p", 7<<10, 1), UserID: "1"})
	var wg sync.WaitGroup
	for i := range 8 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			password := "p"
			if i%2 == 1 {
				password = "q"
			}
			if _, err := c.Login(t.Context(), "a@example.com", password); (err == nil) != (password == "p") {
				t.Errorf("%s: %v", password, err)
			}
		})
	}
	wg.Wait()
}

func TestParseHash(t *testing.T) {
	b := bcryptOf(t, "p")
	for _, good := range []string{
		b, "$2b" + b[3:], "$2y" + b[3:], base64.StdEncoding.EncodeToString([]byte(b)),
		"$2a$16$" + b[7:], argonOf("p", 7<<10, 1),
		"$argon2id$v=19$m=1048576,t=4,p=16$MDEyMzQ1Njc$" + strings.Repeat("A", 43),
	} {
		if _, err := local.ParseHash(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	argon := func(parameters string) string {
		return "$argon2id$v=19$" + parameters + "$MDEyMzQ1Njc4OWFiY2RlZg$" + strings.Repeat("A", 43)
	}
	for name, bad := range map[string]string{
		"bcrypt too cheap":        "$2a$09$" + b[7:],
		"bcrypt too dear":         "$2a$17$" + b[7:],
		"bcrypt cost 31":          "$2a$31$" + b[7:],
		"bcrypt signed cost":      "$2a$+9$" + b[7:],
		"bcrypt 2x":               "$2x" + b[3:],
		"bcrypt short":            b[:59],
		"bcrypt long":             b + "A",
		"bcrypt foreign letter":   b[:59] + "+",
		"bcrypt newline":          b[:59] + "\n",
		"base64 of base64":        base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(b)))),
		"plain text":              "password",
		"sha512-crypt":            "$6$salt$hash",
		"argon2i":                 strings.Replace(argonOf("p", 7<<10, 1), "argon2id", "argon2i", 1),
		"argon version 16":        strings.Replace(argonOf("p", 7<<10, 1), "v=19", "v=16", 1),
		"argon too little memory": argon("m=1024,t=2,p=1"),
		"argon over 1 GiB":        argon("m=1048577,t=1,p=1"),
		"argon memory overflow":   argon("m=4294967296,t=1,p=1"),
		"argon no pass":           argon("m=19456,t=0,p=1"),
		"argon passes":            argon("m=19456,t=4294967295,p=1"),
		"argon work":              argon("m=1048576,t=5,p=1"),
		"argon no lane":           argon("m=19456,t=2,p=0"),
		"argon lanes wrap":        argon("m=19456,t=2,p=257"),
		"argon order":             argon("t=2,m=19456,p=1"),
		"argon extra":             argon("m=19456,t=2,p=1,x=1"),
		"argon missing":           argon("m=19456,t=2"),
		"argon leading zero":      argon("m=019456,t=2,p=1"),
		"argon padding":           argonOf("p", 7<<10, 1) + "=",
		"argon short salt":        "$argon2id$v=19$m=19456,t=2,p=1$MDEy$" + strings.Repeat("A", 43),
		"argon no hash":           "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$",
		"argon short hash":        "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA",
		"argon huge":              argonOf("p", 7<<10, 1) + strings.Repeat("A", 1<<20),
	} {
		if _, err := local.ParseHash(bad); err == nil {
			t.Errorf("%s: accepted %.80s", name, bad)
		}
	}
}

func TestMadeHashesWork(t *testing.T) {
	argon, err := local.Hash("correct horse", rand.Reader)
	if err != nil || !strings.HasPrefix(argon, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", argon, err)
	}
	again, _ := local.Hash("correct horse", rand.Reader)
	if again == argon {
		t.Error("two hashes have the same salt")
	}
	bc, err := local.HashBcrypt("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{argon, bc} {
		c := open(t, local.Password{Email: "a@example.com", Hash: hash, UserID: "1"})
		if _, err := c.Login(t.Context(), "a@example.com", "correct horse"); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", local.MaxPasswordBytes+1)} {
		if _, err := local.Hash(bad, rand.Reader); err == nil {
			t.Errorf("argon2id of a password of %d bytes: no error", len(bad))
		}
	}
	if _, err := local.HashBcrypt(strings.Repeat("x", 73)); err == nil {
		t.Error("bcrypt of 73 bytes: no error")
	}
	if _, err := local.Hash("p", strings.NewReader("short")); err == nil {
		t.Error("no randomness: no error")
	}
}

func FuzzParseHash(f *testing.F) {
	fuzz.Widely(f)
	f.Add(bcryptOf(f, "p"))
	f.Add(argonOf("p", 7<<10, 1))
	f.Add(base64.StdEncoding.EncodeToString([]byte(bcryptOf(f, "p"))))
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$$")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := local.ParseHash(s); err == nil && len(s) > 512 {
			t.Errorf("accepted a hash of %d bytes", len(s))
		}
	})
}
