package throttle_test

import (
	"testing"
	"time"

	"github.com/countersign/countersign/server/throttle"
	"github.com/countersign/countersign/storage"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestWait(t *testing.T) {
	account, address := throttle.DefaultPolicy.Account, throttle.DefaultPolicy.Address
	for name, c := range map[string]struct {
		rule  throttle.Rule
		count int
		since time.Duration
		want  time.Duration
	}{
		"no failure":                     {account, 0, 0, 0},
		"four are free":                  {account, 4, 0, 0},
		"the fifth costs a second":       {account, 5, 0, time.Second},
		"part of it has passed":          {account, 5, 300 * time.Millisecond, 700 * time.Millisecond},
		"it has passed":                  {account, 5, time.Second, 0},
		"long ago":                       {account, 5, 23 * time.Hour, 0},
		"the sixth costs two":            {account, 6, 0, 2 * time.Second},
		"the tenth":                      {account, 10, 0, 32 * time.Second},
		"the fourteenth":                 {account, 14, 0, 512 * time.Second},
		"the fifteenth reaches the cap":  {account, 15, 0, 15 * time.Minute},
		"nobody is locked out for good":  {account, 1 << 62, 0, 15 * time.Minute},
		"not even then":                  {account, 1 << 62, 15 * time.Minute, 0},
		"an office mistypes":             {address, 49, 0, 0},
		"a busy one waits a second":      {address, 50, 0, time.Second},
		"and ten more before it is two":  {address, 59, 0, time.Second},
		"then two":                       {address, 60, 0, 2 * time.Second},
		"an address ends at a minute":    {address, 110, 0, time.Minute},
		"for ever":                       {address, 1 << 40, 0, time.Minute},
		"a replica's clock is ahead":     {account, 6, -10 * time.Second, 2 * time.Second},
		"a failure from tomorrow":        {account, 15, -24 * time.Hour, 0},
		"a negative count":               {account, -1, 0, 0},
		"a rule without anything":        {throttle.Rule{}, 5, 0, 0},
		"a rule with first over the max": {throttle.Rule{Free: 1, First: time.Hour, Step: 1, Max: time.Minute}, 1, 0, time.Minute},
		"a step of zero is one":          {throttle.Rule{Free: 1, First: time.Second, Max: time.Minute}, 3, 0, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := storage.LoginFailure{Count: c.count, LastAt: t0.Add(-c.since)}
			if got := throttle.Wait(f, c.rule, t0); got != c.want {
				t.Errorf("wait %s, want %s", got, c.want)
			}
		})
	}
	if got := throttle.Wait(storage.LoginFailure{}, account, t0); got != 0 {
		t.Errorf("without a record: %s", got)
	}
}
