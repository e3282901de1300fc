package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"testing"

	"github.com/countersign/countersign/server/seal"
)

// secret makes a master secret of one repeated byte.
func secret(b byte) []byte { return bytes.Repeat([]byte{b}, seal.MinSecretBytes) }

func keyring(t testing.TB, secrets ...[]byte) *seal.Keyring {
	t.Helper()
	k, err := seal.New(secrets, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewRefusesWeakKeyrings(t *testing.T) {
	for name, secrets := range map[string][][]byte{
		"no secret":              nil,
		"an empty secret":        {{}},
		"a short secret":         {secret(1)[:31]},
		"a short second secret":  {secret(1), secret(2)[:31]},
		"a nil secret behind it": {secret(1), nil},
	} {
		if _, err := seal.New(secrets, rand.Reader); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := seal.New([][]byte{secret(1)}, nil); err == nil {
		t.Error("no source of randomness is accepted")
	}
}

// Keys and formats must not change: what was sealed by one release is opened by
// the next. The values were computed with another implementation of RFC 5869 and
// RFC 2104.
func TestVectors(t *testing.T) {
	k, err := seal.New([][]byte{secret(1)}, bytes.NewReader(make([]byte, 24)))
	if err != nil {
		t.Fatal(err)
	}
	sum := k.MAC("label").Sum([]byte("message"))
	if got := hex.EncodeToString(sum[:]); got != vectorMAC {
		t.Errorf("MAC = %s, want %s", got, vectorMAC)
	}
	if got := k.Tokens("label", "csx_", 4).Make([]byte("1234")); got != vectorToken {
		t.Errorf("token = %s, want %s", got, vectorToken)
	}
	sealed, err := k.Box("label").Seal([]byte("plain"), []byte("context"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(sealed); got != vectorBox {
		t.Errorf("box = %s, want %s", got, vectorBox)
	}
}

func TestBoxRoundTrip(t *testing.T) {
	box := keyring(t, secret(1)).Box("flow")
	for _, plain := range [][]byte{nil, {}, {0}, []byte("text"), bytes.Repeat([]byte("long"), 5000)} {
		for _, context := range [][]byte{nil, {}, []byte("flow-id")} {
			sealed, err := box.Seal(plain, context)
			if err != nil {
				t.Fatal(err)
			}
			got, err := box.Open(sealed, context)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Open(Seal(%d bytes)) = %d bytes, %v", len(plain), len(got), err)
			}
			if len(plain) > 3 && bytes.Contains(sealed, plain) {
				t.Error("the plaintext is readable")
			}
		}
	}
	a, _ := box.Seal([]byte("x"), nil)
	b, _ := box.Seal([]byte("x"), nil)
	if bytes.Equal(a, b) {
		t.Error("two seals of one value are equal: the nonce is not fresh")
	}
}

func TestBoxRefusesWhatIsNotItsOwn(t *testing.T) {
	k := keyring(t, secret(1))
	box := k.Box("flow")
	sealed, err := box.Seal([]byte("plain"), []byte("context"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, b *seal.Box, sealed, context []byte) {
		t.Helper()
		if got, err := b.Open(sealed, context); !errors.Is(err, seal.ErrInvalid) || got != nil {
			t.Errorf("%s: Open = %q, %v, want ErrInvalid", name, got, err)
		}
	}
	refused("another label", k.Box("keys"), sealed, []byte("context"))
	refused("an empty label", k.Box(""), sealed, []byte("context"))
	refused("another secret", keyring(t, secret(2)).Box("flow"), sealed, []byte("context"))
	for _, context := range []string{"", "Context", "contex", "context ", "context\x00"} {
		refused("another context", box, sealed, []byte(context))
	}
	for n := range len(sealed) {
		refused("truncated", box, sealed[:n], []byte("context"))
		refused("beheaded", box, sealed[n+1:], []byte("context"))
	}
	for bit := range len(sealed) * 8 {
		refused("a flipped bit", box, flip(sealed, bit), []byte("context"))
	}
	refused("extended", box, append(bytes.Clone(sealed), 0), []byte("context"))
	refused("doubled", box, append(bytes.Clone(sealed), sealed...), []byte("context"))
	refused("nothing", box, nil, nil)
}

func flip(b []byte, bit int) []byte {
	out := bytes.Clone(b)
	out[bit/8] ^= 1 << (bit % 8)
	return out
}

// The first secret makes, all check, a dropped one checks nothing.
func TestRotationOfSecrets(t *testing.T) {
	before, during, after := keyring(t, secret(1)), keyring(t, secret(2), secret(1)), keyring(t, secret(2))

	old, err := before.Box("b").Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := during.Box("b").Seal([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		k      *seal.Keyring
		sealed []byte
		opens  bool
	}{
		{"old value, both secrets", during, old, true},
		{"old value, old secret dropped", after, old, false},
		{"new value, both secrets", during, fresh, true},
		{"new value, old secret dropped", after, fresh, true},
		{"new value, old replica", before, fresh, false},
	} {
		if _, err := test.k.Box("b").Open(test.sealed, nil); (err == nil) != test.opens {
			t.Errorf("%s: %v", test.name, err)
		}
	}

	oldSum, freshSum := before.MAC("m").Sum([]byte("x")), during.MAC("m").Sum([]byte("x"))
	for _, test := range []struct {
		name string
		k    *seal.Keyring
		sum  [seal.MACBytes]byte
		want bool
	}{
		{"old MAC, both secrets", during, oldSum, true},
		{"old MAC, old secret dropped", after, oldSum, false},
		{"new MAC, old secret dropped", after, freshSum, true},
		{"new MAC, old replica", before, freshSum, false},
	} {
		if got := test.k.MAC("m").Verify([]byte("x"), test.sum[:]); got != test.want {
			t.Errorf("%s: Verify = %v", test.name, got)
		}
	}
	if freshSum != after.MAC("m").Sum([]byte("x")) {
		t.Error("the secret that makes is not the first")
	}
}

// What the caller does to its secrets later does not change the keyring.
func TestSecretsAreCopied(t *testing.T) {
	mine := secret(1)
	k := keyring(t, mine)
	clear(mine)
	if k.MAC("m").Sum(nil) != keyring(t, secret(1)).MAC("m").Sum(nil) {
		t.Error("the keyring changed with the caller's slice")
	}
}

func TestMACVerify(t *testing.T) {
	k := keyring(t, secret(1))
	mac := k.MAC("m")
	sum := mac.Sum([]byte("message"))
	if !mac.Verify([]byte("message"), sum[:]) {
		t.Fatal("a MAC of ours is refused")
	}
	for n := range len(sum) {
		if mac.Verify([]byte("message"), sum[:n]) {
			t.Errorf("%d bytes of the MAC are enough", n)
		}
	}
	for bit := range len(sum) * 8 {
		if mac.Verify([]byte("message"), flip(sum[:], bit)) {
			t.Errorf("bit %d of the MAC does not matter", bit)
		}
	}
	for _, message := range []string{"", "messag", "message ", "Message"} {
		if mac.Verify([]byte(message), sum[:]) {
			t.Errorf("the MAC fits %q", message)
		}
	}
	if mac.Verify([]byte("message"), append(sum[:], 0)) || k.MAC("n").Verify([]byte("message"), sum[:]) || mac.Verify([]byte("message"), nil) {
		t.Error("a longer MAC, another label's or none is accepted")
	}
}

// No purpose's key is another's, however the labels are chosen.
func TestPurposesAreApart(t *testing.T) {
	k := keyring(t, secret(1))
	payload := []byte("1234")
	token, err := k.Tokens("x", "", 4).Parse(k.Tokens("x", "", 4).Make(payload))
	if err != nil || !bytes.Equal(token, payload) {
		t.Fatal(err)
	}
	want := k.Tokens("x", "", 4).Make(payload)
	for _, label := range []string{"x", "token/x", "/x", "", "mac/token/x"} {
		sum := k.MAC(label).Sum(payload)
		if _, err := k.Tokens("x", "", 4).Parse(encode(append(bytes.Clone(payload), sum[:]...))); err == nil {
			t.Errorf("the MAC %q makes tokens like %s", label, want)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("out of entropy") }

func TestSealReportsMissingRandomness(t *testing.T) {
	for name, k := range map[string]func() (*seal.Keyring, error){
		"failing": func() (*seal.Keyring, error) { return seal.New([][]byte{secret(1)}, failing{}) },
		"short":   func() (*seal.Keyring, error) { return seal.New([][]byte{secret(1)}, bytes.NewReader(make([]byte, 23))) },
	} {
		ring, err := k()
		if err != nil {
			t.Fatal(err)
		}
		if sealed, err := ring.Box("b").Seal([]byte("x"), nil); err == nil {
			t.Errorf("%s: sealed %x without a nonce", name, sealed)
		}
	}
}

// One box, MAC and token maker serve all requests.
func TestConcurrentUse(t *testing.T) {
	k := keyring(t, secret(1), secret(2))
	box, mac, tokens := k.Box("b"), k.MAC("m"), k.Tokens("t", "cst_", 4)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			message := []byte{byte(i), 1, 2, 3}
			for range 200 {
				sealed, err := box.Seal(message, nil)
				if err != nil {
					t.Error(err)
					return
				}
				plain, err := box.Open(sealed, nil)
				sum := mac.Sum(message)
				payload, parseErr := tokens.Parse(tokens.Make(message))
				if err != nil || !bytes.Equal(plain, message) || !mac.Verify(message, sum[:]) || parseErr != nil || !bytes.Equal(payload, message) {
					t.Error("concurrent use disturbs")
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	// The same nonce in every fuzzing process.
	k, err := seal.New([][]byte{secret(1), secret(2)}, bytes.NewReader(make([]byte, 24)))
	if err != nil {
		f.Fatal(err)
	}
	box := k.Box("flow")
	good, err := box.Seal([]byte("plain"), []byte("id"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte("id"))
	f.Add(good[:24], []byte("id"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, sealed, context []byte) {
		plain, err := box.Open(sealed, context)
		if bytes.Equal(sealed, good) && bytes.Equal(context, []byte("id")) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err == nil {
			t.Fatalf("forged: %x opens to %q", sealed, plain)
		}
	})
}

func BenchmarkMACVerify(b *testing.B) {
	mac := keyring(b, secret(1), secret(2)).MAC("m")
	message := make([]byte, 24)
	sum := mac.Sum(message)
	b.ReportAllocs()
	for b.Loop() {
		mac.Verify(message, sum[:])
	}
}

func BenchmarkTokensParse(b *testing.B) {
	tokens := keyring(b, secret(1)).Tokens("t", "csa_", 24)
	token := tokens.Make(make([]byte, 24))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Parse(token); err != nil {
			b.Fatal(err)
		}
	}
}

const (
	vectorMAC   = "aab8fdeb8adff4e8decff804aad51ac6f5f70ad6053f18c66e42a434e691b7db"
	vectorToken = "csx_MTIzNCfyDm-5e9If1WHx7qwMZ-zIDt1lF42bgESNwNNdRl12"
	vectorBox   = "00000000000000000000000000000000000000000000000091b6703c907f10200703fe942437cd15d5dcbe3ab8"
)
