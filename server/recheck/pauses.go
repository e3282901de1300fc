package recheck

import (
	"sync"
	"time"

	"github.com/countersign/countersign/storage"
)

// failurePause is how long an upstream is left alone after it failed.
const failurePause = 5 * time.Second

// pauses are the connectors that failed a moment ago. A failure about one person
// says little of the upstream, which may only trip over that account: it pauses
// questions about them. When the next to fail is another person's, with no answer
// between, everybody's are paused.
type pauses struct {
	mu sync.Mutex
	of map[string]pause
}

type pause struct {
	userID   string
	everyone bool
	until    time.Time
}

// paused reports whether nothing is to be asked about the person.
func (p *pauses) paused(id storage.Identity, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.of[id.ConnectorID]
	return now.Before(at.until) && (at.everyone || at.userID == id.UserID)
}

// begin takes note of a failure, and reports whether it is the first for a while.
func (p *pauses) begin(id storage.Identity, now time.Time) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = make(map[string]pause)
	}
	before, failing := p.of[id.ConnectorID]
	p.of[id.ConnectorID] = pause{
		userID: id.UserID, until: now.Add(failurePause),
		everyone: failing && before.userID != id.UserID,
	}
	return !now.Before(before.until)
}

// end takes note of an answer.
func (p *pauses) end(id storage.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, id.ConnectorID)
}
