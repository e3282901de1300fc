package storagetest

import (
	"testing"

	"github.com/countersign/countersign/storage"
)

// Work is what an engine has sent to its database so far. Engines without a
// network count nothing.
type Work struct{ Statements, RoundTrips int64 }

// Benchmark measures the transitions of a login. work may be nil.
func Benchmark(b *testing.B, s storage.Store, work func() Work) {
	if work == nil {
		work = func() Work { return Work{} }
	}
	b.Run("SignIn", func(b *testing.B) {
		benchmark(b, work, func(b *testing.B) storage.SignIn { return signIn() }, func(b *testing.B, in storage.SignIn) error {
			return s.SignIn(b.Context(), in)
		})
	})
	signedIn := func(b *testing.B) storage.SignIn {
		in := signIn()
		if err := s.SignIn(b.Context(), in); err != nil {
			b.Fatal(err)
		}
		return in
	}
	b.Run("Authorize", func(b *testing.B) {
		benchmark(b, work, signedIn, func(b *testing.B, in storage.SignIn) error {
			return s.Authorize(b.Context(), authorization(in))
		})
	})
	b.Run("RedeemCode", func(b *testing.B) {
		benchmark(b, work, signedIn, func(b *testing.B, in storage.SignIn) error {
			return s.RedeemCode(b.Context(), in.Grant.ID, epoch, in.Grant.ExpiresAt)
		})
	})
	b.Run("Session", func(b *testing.B) {
		benchmark(b, work, signedIn, func(b *testing.B, in storage.SignIn) error {
			_, _, err := s.Session(b.Context(), in.Session.IDHash, epoch)
			return err
		})
	})
}

// benchmark measures do, and what it sends, without prepare.
func benchmark(b *testing.B, work func() Work, prepare func(*testing.B) storage.SignIn,
	do func(*testing.B, storage.SignIn) error,
) {
	if err := do(b, prepare(b)); err != nil { // so that connections and statements are warm
		b.Fatal(err)
	}
	var sum Work
	for b.Loop() {
		b.StopTimer()
		in := prepare(b)
		before := work()
		b.StartTimer()
		if err := do(b, in); err != nil {
			b.Fatal(err)
		}
		after := work()
		sum.Statements += after.Statements - before.Statements
		sum.RoundTrips += after.RoundTrips - before.RoundTrips
	}
	if sum != (Work{}) {
		b.ReportMetric(float64(sum.Statements)/float64(b.N), "statements/op")
		b.ReportMetric(float64(sum.RoundTrips)/float64(b.N), "roundtrips/op")
	}
}
