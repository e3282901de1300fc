package recheck

import (
	"sync"
	"time"

	"github.com/countersign/countersign/storage"
)

// remembered is how long an answer is remembered at least: longer than a request
// takes from reading an identity to asking about it.
const remembered = 10 * time.Second

// answers are when people were last asked about. A request that has read an
// identity before the answer was stored, and comes to ask after the question
// ended, finds here that it need not.
type answers struct {
	mu sync.Mutex
	// newer became older at turned, and older was dropped.
	newer, older map[string]time.Time
	turned       time.Time
}

func (a *answers) add(id storage.Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn(id.CheckedAt)
	a.newer[keyOf(id)] = id.CheckedAt
}

// of is when the person was asked about, zero when that is not known.
func (a *answers) of(id storage.Identity, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn(now)
	if at, ok := a.newer[keyOf(id)]; ok {
		return at
	}
	return a.older[keyOf(id)]
}

// turn forgets what is too old, wholesale.
func (a *answers) turn(now time.Time) {
	if now.Sub(a.turned).Abs() < remembered && a.newer != nil {
		return
	}
	a.older, a.newer, a.turned = a.newer, make(map[string]time.Time), now
}
