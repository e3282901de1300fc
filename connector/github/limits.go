package github

import (
	"sync"
	"time"
)

// maxLimits bounds how many tokens are known to be limited.
const maxLimits = 10_000

// limits are the tokens that must not be used for a while.
type limits struct {
	mu sync.Mutex
	of map[key]time.Time
}

// until is when the token may be used again; zero: now.
func (l *limits) until(k key, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.of[k]
	if ok && now.Before(at) {
		return at
	}
	delete(l.of, k)
	return time.Time{}
}

func (l *limits) set(k key, until, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[key]time.Time)
	}
	if len(l.of) >= maxLimits {
		for k, at := range l.of {
			if !now.Before(at) {
				delete(l.of, k)
			}
		}
	}
	if len(l.of) < maxLimits { // else it is asked once more than it should be
		l.of[k] = until
	}
}
