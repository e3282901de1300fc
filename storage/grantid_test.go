package storage_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// RFC 9562 section 5.7, and its example in appendix A.6.
func TestNewGrantID(t *testing.T) {
	at := time.Date(2022, 2, 22, 14, 22, 22, 0, time.FixedZone("EST", -5*60*60))
	random := []byte{0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f}
	id, err := storage.NewGrantID(at, bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := id.String(), "017f22e279b07cc398c4dc0c0c07398f"; got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
}

// Version and variant are fixed, all other bits are random or time.
func TestGrantIDBits(t *testing.T) {
	now := time.UnixMilli(0x123456789abc)
	for _, fill := range []byte{0x00, 0xff} {
		id, err := storage.NewGrantID(now, bytes.NewReader(bytes.Repeat([]byte{fill}, 10)))
		if err != nil {
			t.Fatal(err)
		}
		want := map[byte]string{0x00: "123456789abc70008000000000000000", 0xff: "123456789abc7fffbfffffffffffffff"}[fill]
		if id.String() != want {
			t.Errorf("id = %s, want %s", id, want)
		}
	}
}

func TestGrantIDsAreUniqueAndOrdered(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	seen := map[storage.GrantID]bool{}
	var last storage.GrantID
	for i := range 1000 {
		id, err := storage.NewGrantID(now.Add(time.Duration(i)*time.Millisecond), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if seen[id] || bytes.Compare(id[:], last[:]) <= 0 {
			t.Fatalf("%s follows %s", id, last)
		}
		seen[id], last = true, id
	}
	for range 1000 { // within one millisecond, randomness alone tells them apart
		id, err := storage.NewGrantID(now, rand.Reader)
		if err != nil || seen[id] {
			t.Fatalf("%s was there before, %v", id, err)
		}
		seen[id] = true
	}
}

func TestGrantIDNeedsRandomness(t *testing.T) {
	for n := range 10 {
		id, err := storage.NewGrantID(time.Now(), bytes.NewReader(make([]byte, n)))
		if err == nil || id != (storage.GrantID{}) {
			t.Errorf("%d bytes of randomness make %s, %v", n, id, err)
		}
		if n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v hides its cause", n, err)
		}
	}
}
