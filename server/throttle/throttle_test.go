package throttle_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/storage"
	"github.com/countersign/countersign/storage/sqlite"
)

// bench is a limiter over a real store, at a clock that the test moves.
type bench struct {
	*throttle.Limiter
	store storage.Store
	file  string
	now   atomic.Pointer[time.Time]
}

func (b *bench) clock() time.Time        { return *b.now.Load() }
func (b *bench) advance(d time.Duration) { now := b.clock().Add(d); b.now.Store(&now) }

func keyring(t *testing.T) *seal.Keyring {
	t.Helper()
	ring, err := seal.New([][]byte{bytes.Repeat([]byte{7}, seal.MinSecretBytes)}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func open(t *testing.T) *bench {
	t.Helper()
	b := &bench{file: filepath.Join(t.TempDir(), "db")}
	b.now.Store(&t0)
	store, err := sqlite.Open(sqlite.Config{File: b.file, StatementTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.store = store
	b.Limiter = b.replica(t)
	return b
}

// replica is another limiter on the same store.
func (b *bench) replica(t *testing.T) *throttle.Limiter {
	t.Helper()
	l, err := throttle.New(throttle.Config{Store: b.store, Keyring: keyring(t), Now: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func from(username, addr string) throttle.Attempt {
	a := throttle.Attempt{ConnectorID: "local", Username: username}
	if addr != "" {
		a.Addr = netip.MustParseAddr(addr)
	}
	return a
}

func wrong(context.Context) error { return connector.ErrInvalidCredentials }
func right(context.Context) error { return nil }

// fail fails n times, waiting as long as it is told to.
func (b *bench) fail(t *testing.T, l *throttle.Limiter, n int, a throttle.Attempt) {
	t.Helper()
	for range n {
		_, err := l.Do(t.Context(), a, wrong)
		if wait := waitOf(err); wait > 0 {
			b.advance(wait)
			_, err = l.Do(t.Context(), a, wrong)
		}
		if !errors.Is(err, connector.ErrInvalidCredentials) {
			t.Fatalf("error %v", err)
		}
	}
}

func waitOf(err error) time.Duration {
	var w *throttle.WaitError
	if errors.As(err, &w) {
		return w.RetryAfter
	}
	return 0
}

// wait is how long an attempt has to wait; it does not count as a failure.
func wait(t *testing.T, l *throttle.Limiter, a throttle.Attempt) time.Duration {
	t.Helper()
	called := false
	_, err := l.Do(t.Context(), a, func(context.Context) error { called = true; return nil })
	w := waitOf(err)
	if called != (w == 0) {
		t.Fatalf("verified: %t, told to wait: %s", called, w)
	}
	return w
}

func TestAccountIsLimitedOnEveryReplica(t *testing.T) {
	b := open(t)
	other := b.replica(t)
	b.fail(t, b.Limiter, 4, from("ada", "192.0.2.1"))
	if w := wait(t, other, from("ada", "192.0.2.1")); w != 0 {
		t.Errorf("four failures: wait %s", w)
	}
	b.fail(t, other, 1, from("ada", "198.51.100.1"))
	if w := wait(t, b.Limiter, from("ada", "2001:db8::1")); w != time.Second {
		t.Errorf("five failures: wait %s", w)
	}
	if w := wait(t, b.Limiter, from("bob", "192.0.2.1")); w != 0 {
		t.Errorf("another account: wait %s", w)
	}
	elsewhere := throttle.Attempt{ConnectorID: "ldap", Username: "ada"}
	if w := wait(t, b.Limiter, elsewhere); w != 0 {
		t.Errorf("another connector: wait %s", w)
	}
}

// However long somebody keeps failing in a person's name, there is a try every
// fifteen minutes, and being turned away does not put it off.
func TestNobodyIsLockedOutForGood(t *testing.T) {
	b := open(t)
	b.fail(t, b.Limiter, 40, from("ada", ""))
	for range 10 {
		wait(t, b.Limiter, from("ada", ""))
	}
	if w := wait(t, b.Limiter, from("ada", "")); w != 15*time.Minute {
		t.Fatalf("wait %s", w)
	}
	b.advance(15 * time.Minute)
	clear, err := b.Do(t.Context(), from("ada", ""), right)
	if err != nil || len(clear) != 1 {
		t.Fatalf("clear %v, %v", clear, err)
	}
}

func TestSuccessNamesWhatToClear(t *testing.T) {
	b := open(t)
	if clear, err := b.Do(t.Context(), from("ada", "192.0.2.1"), right); err != nil || clear != nil {
		t.Errorf("without failures: %v, %v", clear, err)
	}
	b.fail(t, b.Limiter, 5, from("ada", "192.0.2.1"))
	b.advance(time.Second)
	clear, err := b.Do(t.Context(), from("ada", "192.0.2.1"), right)
	if err != nil || len(clear) != 1 {
		t.Fatalf("clear %v, %v", clear, err)
	}
	_, err = b.store.SignIn(t.Context(), storage.SignIn{
		Identity:      storage.Identity{ConnectorID: "local", UserID: "1", CheckedAt: t0, ExpiresAt: t0.Add(48 * time.Hour)},
		Session:       storage.Session{IDHash: [32]byte{1}, SID: "s", ConnectorID: "local", UserID: "1", AuthTime: t0, CreatedAt: t0, LastUsedAt: t0, ExpiresAt: t0.Add(time.Hour)},
		ClearFailures: clear,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.fail(t, b.Limiter, 4, from("ada", "192.0.2.1"))
	if w := wait(t, b.Limiter, from("ada", "192.0.2.1")); w != 0 {
		t.Errorf("four failures after a success: wait %s", w)
	}
}

func TestAddressIsLimited(t *testing.T) {
	for name, c := range map[string]struct{ addr, same, other string }{
		"IPv4":        {"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
		"IPv6":        {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"},
		"IPv6 zoned":  {"fe80::1%eth0", "fe80::1%eth1", "fe81::1"},
		"mapped IPv4": {"::ffff:192.0.2.9", "192.0.2.9", "::ffff:192.0.2.10"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			for i := range 50 {
				b.fail(t, b.Limiter, 1, from("user"+strings.Repeat("x", i), c.addr))
			}
			if w := wait(t, b.Limiter, from("ada", c.same)); w != time.Second {
				t.Errorf("same address: wait %s", w)
			}
			if w := wait(t, b.Limiter, from("ada", c.other)); w != 0 {
				t.Errorf("another address: wait %s", w)
			}
			if w := wait(t, b.Limiter, from("ada", "")); w != 0 {
				t.Errorf("no address: wait %s", w)
			}
			b.advance(time.Hour)
			b.fail(t, b.Limiter, 1, from("user", c.addr))
			if w := wait(t, b.Limiter, from("ada", c.same)); w != 0 {
				t.Errorf("in the next hour: wait %s", w)
			}
		})
	}
}

// An account of one's own does not pay for guesses at those of others.
func TestSuccessDoesNotClearTheAddress(t *testing.T) {
	b := open(t)
	for i := range 50 {
		b.fail(t, b.Limiter, 1, from("user"+strings.Repeat("x", i), "192.0.2.1"))
	}
	b.advance(time.Second)
	if clear, err := b.Do(t.Context(), from("mallory", "192.0.2.1"), right); err != nil || clear != nil {
		t.Errorf("clear %v, %v", clear, err)
	}
}

// SECURITY 40: every spelling that some upstream takes for the account is the
// same account here.
func TestSpellingsShareACount(t *testing.T) {
	for _, spelling := range []string{
		"MÜLLER@Example.com", " müller@example.com ", "mu\u0308ller@example.com", "ｍüller＠example.com",
		"mülle\u200br@example.com", "mül\u00adler@example.com", "muller@example.com", "müller@example.co\uff4d",
		"müller\u00a0@example.com", "müller@example.com\u202e", "müller@exam\u034fple.com",
		"müller @example.com", "mülle\u0000r@example.com", "müller@examp\ufe00le.com", "müller@\u3164example.com",
	} {
		b := open(t)
		b.fail(t, b.Limiter, 5, from("müller@example.com", ""))
		if w := wait(t, b.Limiter, from(spelling, "")); w != time.Second {
			t.Errorf("%+q: wait %s", spelling, w)
		}
	}
	for a, same := range map[string]string{"straße": "STRASSE", "kelvin": "\u212aelvin", "admin": "adm\u0130n", "ﬁsher": "FISHER", "σίσυφος": "ΣΊΣΥΦΟΣ", "list": "li\u017ft"} {
		b := open(t)
		b.fail(t, b.Limiter, 5, from(a, ""))
		if w := wait(t, b.Limiter, from(same, "")); w != time.Second {
			t.Errorf("%+q for %+q: wait %s", same, a, w)
		}
	}
	b := open(t)
	b.fail(t, b.Limiter, 5, from("ada", ""))
	for _, other := range []string{"adam", "ad", "", "ada@example.com", "аda" /* Cyrillic */} {
		if w := wait(t, b.Limiter, from(other, "")); w != 0 {
			t.Errorf("%+q: wait %s", other, w)
		}
	}
}

// A hundred guesses at once are not checked before the first failure is counted.
func TestParallelGuesses(t *testing.T) {
	b := open(t)
	var checked, turnedAway atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			name := []string{"ada", "ADA", "Ada "}[i%3]
			_, err := b.Do(t.Context(), from(name, "192.0.2.1"), func(ctx context.Context) error {
				checked.Add(1)
				return wrong(ctx)
			})
			if waitOf(err) > 0 {
				turnedAway.Add(1)
			}
		})
	}
	wg.Wait()
	if checked.Load() > 5 || checked.Load()+turnedAway.Load() != 100 {
		t.Errorf("%d checked, %d turned away", checked.Load(), turnedAway.Load())
	}
}

// The queue of an account is bounded, and leaves others alone.
func TestQueueIsBounded(t *testing.T) {
	b := open(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := b.Do(t.Context(), from("ada", "192.0.2.1"), func(context.Context) error {
			close(entered)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-entered
	full := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting atomic.Int64
	for range 20 {
		wg.Go(func() {
			_, err := b.Do(ctx, from("ada", "192.0.2.2"), right)
			switch {
			case waitOf(err) > 0:
				full <- struct{}{}
			case errors.Is(err, context.Canceled):
				waiting.Add(1)
			default:
				t.Errorf("error %v", err)
			}
		})
	}
	for range 12 { // of 20, eight wait
		<-full
	}
	if w := wait(t, b.Limiter, from("bob", "192.0.2.1")); w != 0 {
		t.Errorf("another account waits %s", w)
	}
	cancel()
	close(release)
	wg.Wait()
	if n := waiting.Load(); n != 8 {
		t.Errorf("%d waited", n)
	}
	if w := wait(t, b.Limiter, from("ada", "192.0.2.1")); w != 0 {
		t.Errorf("the place is not free again: %s", w)
	}
}

func TestWhatIsNotAGuessIsNotCounted(t *testing.T) {
	b := open(t)
	for _, verdict := range []error{connector.ErrUpstream, &connector.DeniedError{Message: "no"}, context.DeadlineExceeded, errors.New("defect")} {
		for range 6 {
			clear, err := b.Do(t.Context(), from("ada", "192.0.2.1"), func(context.Context) error { return verdict })
			if !errors.Is(err, verdict) || clear != nil {
				t.Errorf("clear %v, error %v", clear, err)
			}
		}
	}
	if w := wait(t, b.Limiter, from("ada", "192.0.2.1")); w != 0 {
		t.Errorf("wait %s", w)
	}
}

// Hanging up before the answer comes does not save a guess.
func TestHangingUpIsCounted(t *testing.T) {
	b := open(t)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := b.Do(ctx, from("ada", ""), func(context.Context) error {
			cancel()
			return connector.ErrInvalidCredentials
		})
		if !errors.Is(err, connector.ErrInvalidCredentials) {
			t.Fatal(err)
		}
	}
	if w := wait(t, b.Limiter, from("ada", "")); w != time.Second {
		t.Errorf("wait %s", w)
	}
}

func TestPanicLeavesTheQueue(t *testing.T) {
	b := open(t)
	func() {
		defer func() { _ = recover() }()
		_, _ = b.Do(t.Context(), from("ada", "192.0.2.1"), func(context.Context) error { panic("defect") })
	}()
	if w := wait(t, b.Limiter, from("ada", "192.0.2.1")); w != 0 {
		t.Errorf("wait %s", w)
	}
}

func TestStoreOutageFailsClosed(t *testing.T) {
	b := open(t)
	_, err := b.Do(t.Context(), from("ada", ""), func(ctx context.Context) error {
		_ = b.store.Close()
		return wrong(ctx)
	})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, connector.ErrInvalidCredentials) {
		t.Errorf("a failure that was not counted: %v", err)
	}
	_, err = b.Do(t.Context(), from("ada", ""), func(context.Context) error {
		t.Error("verified without the store")
		return nil
	})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

func TestEndlessUserName(t *testing.T) {
	b := open(t)
	_, err := b.Do(t.Context(), from(strings.Repeat("\u0390", 1<<19), ""), func(context.Context) error {
		t.Error("verified")
		return nil
	})
	if !errors.Is(err, connector.ErrInvalidCredentials) {
		t.Errorf("error %v", err)
	}
}

// People type passwords into the field of the user name.
func TestNothingTypedIsInTheDatabase(t *testing.T) {
	b := open(t)
	b.fail(t, b.Limiter, 5, from("CorrectHorseBattery", "192.0.2.123"))
	if w := wait(t, b.Limiter, from("CorrectHorseBattery", "192.0.2.123")); w == 0 {
		t.Fatal("nothing was stored")
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(b.file + "*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{"correcthorse", "192.0.2"} {
			if bytes.Contains(bytes.ToLower(data), []byte(typed)) {
				t.Errorf("%s has %q", filepath.Base(file), typed)
			}
		}
	}
}

// Records name accounts: the same for all spellings and on every replica, and
// nothing of what was typed, nor what the database knows it by.
func TestAccountName(t *testing.T) {
	b := open(t)
	l := b.replica(t)
	name := l.AccountName("ldap", "alice")
	if len(name) < 10 || name != b.replica(t).AccountName("ldap", "ALICE ") {
		t.Errorf("alice is %q, ALICE %q", name, l.AccountName("ldap", "ALICE "))
	}
	for _, other := range []string{l.AccountName("ldap", "alice2"), l.AccountName("saml", "alice"), l.AccountName("lda", "palice")} {
		if other == name || len(other) != len(name) {
			t.Errorf("another account is %q, too", other)
		}
	}
	if got := l.AccountName("ldap", strings.Repeat("a", 2000)); got != "" {
		t.Errorf("nobody's is %q", got)
	}
	b.fail(t, l, 1, from("alice", ""))
	clear, err := l.Do(t.Context(), from("alice", ""), right)
	if err != nil || len(clear) != 1 || strings.Contains(clear[0], name) {
		t.Errorf("the count is %q, %v, the name %q", clear, err, name)
	}
}
