package ldap_test

import (
	"testing"

	"github.com/countersign/countersign/connector/ldap"
)

// BenchmarkLogin signs people of 5,000 in, as many at once as there are processors
// times four.
func BenchmarkLogin(b *testing.B) {
	s := server(b)
	for _, way := range []struct {
		name string
		o    option
	}{{"plain", func(*ldap.Config) {}}, {"StartTLS", startTLS(s)}, {"LDAPS", ldaps(s)}} {
		for _, pool := range []struct {
			name string
			idle int
		}{{"pool", 0}, {"no pool", -1}} {
			b.Run(way.name+"/"+pool.name, func(b *testing.B) {
				c := open(b, one(s), way.o, func(c *ldap.Config) { c.MaxIdle = pool.idle })
				b.SetParallelism(4)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := c.Login(b.Context(), "p17", password); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
			})
		}
	}
}
