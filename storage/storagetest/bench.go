package storagetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

// Work is what an engine has sent to its database so far, and what that wrote to
// its log. Engines without a network count nothing.
type Work struct{ Statements, RoundTrips, LogBytes int64 }

// Benchmark measures the transitions of a login. work may be nil.
func Benchmark(b *testing.B, s storage.Store, work func() Work) {
	if work == nil {
		work = func() Work { return Work{} }
	}
	b.Run("SignIn", func(b *testing.B) {
		benchmark(b, work, func(b *testing.B) storage.SignIn { return signIn() }, func(b *testing.B, in storage.SignIn) error {
			return ErrorOf(s.SignIn(b.Context(), in))
		})
	})
	signedIn := func(b *testing.B) storage.SignIn {
		in := signIn()
		if err := ErrorOf(s.SignIn(b.Context(), in)); err != nil {
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
			return s.RedeemCode(b.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: in.Grant.ExpiresAt})
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
	sum.report(b)
}

func (w Work) report(b *testing.B) {
	for unit, n := range map[string]int64{"statements/op": w.Statements, "roundtrips/op": w.RoundTrips, "logbytes/op": w.LogBytes} {
		if n != 0 {
			b.ReportMetric(float64(n)/float64(b.N), unit)
		}
	}
}

// BenchmarkRotate measures rotations by 1, 8 and 32 callers, each of grants of
// its own. work may be nil.
func BenchmarkRotate(b *testing.B, s storage.Store, work func() Work) {
	if work == nil {
		work = func() Work { return Work{} }
	}
	for _, callers := range []int{1, 8, 32} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			const each = 50
			chains := make([][]storage.Rotation, callers)
			for i := range chains {
				for range each {
					chains[i] = append(chains[i], benchmarkChain(b, s))
				}
			}
			before := work()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var running sync.WaitGroup
			for _, grants := range chains {
				running.Go(func() { rotateInTurn(b, s, grants, &left) })
			}
			running.Wait()
			b.StopTimer()
			after := work()
			Work{after.Statements - before.Statements, after.RoundTrips - before.RoundTrips, after.LogBytes - before.LogBytes}.report(b)
		})
	}
}

// benchmarkChain is the first rotation of a grant such as people have.
func benchmarkChain(b *testing.B, s storage.Store) storage.Rotation {
	in := signIn()
	in.Grant.ConnectorID, in.Grant.UserID = "github", in.Session.SID
	in.Identity.ConnectorID, in.Identity.UserID = in.Grant.ConnectorID, in.Grant.UserID
	in.Session.ConnectorID, in.Session.UserID = in.Grant.ConnectorID, in.Grant.UserID
	if err := ErrorOf(s.SignIn(b.Context(), in)); err != nil {
		b.Fatal(err)
	}
	if err := s.RedeemCode(b.Context(), storage.Redemption{ID: in.Grant.ID, Now: epoch, ExpiresAt: epoch.Add(720 * time.Hour)}); err != nil {
		b.Fatal(err)
	}
	r := rotation(in)
	r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	r.IPAddress = "2001:db8:1234:5678:9abc:def0:1234:5678"
	return r
}

// rotateInTurn rotates one grant after the other, as long as there are any left.
func rotateInTurn(b *testing.B, s storage.Store, grants []storage.Rotation, left *atomic.Int64) {
	for i := 0; left.Add(-1) >= 0; i++ {
		r := &grants[i%len(grants)]
		if _, _, err := s.RotateGrant(b.Context(), *r); err != nil {
			b.Error(err)
			return
		}
		r.Generation, r.Next, r.Now = r.Next, r.Next+1, r.Now.Add(time.Second)
	}
}
