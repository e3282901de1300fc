package throttle

import (
	"time"

	"github.com/countersign/countersign/storage"
)

// Rule says how long to wait after a number of failures.
type Rule struct {
	// Free is how many failures cost nothing.
	Free int
	// First is the wait after the failure that is one too many.
	First time.Duration
	// Step is how many failures more double it.
	Step int
	// Max caps it.
	Max time.Duration
}

// Policy is the rule for each of the two counts.
type Policy struct {
	Account Rule
	Address Rule
}

// Window is how long a count lives after its last failure.
const Window = 24 * time.Hour

// DefaultPolicy allows fifteen guesses at one account in the first quarter of an
// hour and then four an hour, about a hundred a day. People rarely mistype five
// times in a row.
//
// The cap is what keeps a stranger from locking a person out for good by failing
// in their name: fifteen minutes after the last counted failure the next try is
// checked, whoever makes it, and attempts that were turned away do not extend
// the wait. While somebody keeps failing in a person's name the two compete for
// that try. Whoever is signed in already notices nothing: neither sessions nor
// refresh tokens come this way. Lockouts that only an operator ends would be
// worse: they cost an attacker five requests, and then nothing.
//
// An address is often an office behind NAT, where a thousand people come in at
// nine and one in twenty mistypes. So its count starts again every hour, has
// fifty failures free, doubles only every tenth, and ends at a minute. It slows
// somebody who tries one password on many accounts to a guess a minute and
// address; the guesses at one account are the other rule's business, which no
// number of addresses evades.
var DefaultPolicy = Policy{
	Account: Rule{Free: 5, First: time.Second, Step: 1, Max: 15 * time.Minute},
	Address: Rule{Free: 50, First: time.Second, Step: 10, Max: time.Minute},
}

// Wait is how much longer the next attempt has to wait at now.
func Wait(f storage.LoginFailure, r Rule, now time.Time) time.Duration {
	delay := r.delay(f.Count)
	since := now.Sub(f.LastAt)
	if since < -r.Max {
		// The failure is in the far future: a clock was wrong, then or now. One
		// attempt goes through, and if it fails its time is the one that counts.
		return 0
	}
	return min(delay, max(0, delay-since))
}

// delay is the wait after the n-th failure.
func (r Rule) delay(n int) time.Duration {
	if n < r.Free || n <= 0 || r.First <= 0 {
		return 0
	}
	doublings := (n - r.Free) / max(1, r.Step)
	for d := r.First; ; d *= 2 {
		if d >= r.Max {
			return r.Max
		}
		if doublings == 0 {
			return d
		}
		doublings--
	}
}
