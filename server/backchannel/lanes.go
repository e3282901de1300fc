package backchannel

import (
	"sync"
	"time"
)

const (
	// workers is how many attempts are under way at once, perClient those of one
	// client, while it answers.
	workers   = 32
	perClient = 4

	// A client that fails is left alone for firstPause, then for twice that, up to
	// lastPause; in between, one attempt shows whether it is back. So clients that
	// are dead take a small part of the workers, however much they are to be told.
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute
)

// lanes share the workers out among clients.
type lanes struct {
	mu       sync.Mutex
	busy     int
	byClient map[string]*lane
}

// lane is a client with attempts under way, or that fails.
type lane struct {
	busy     int
	failures int
	until    time.Time
}

// closed are the clients that no attempt may begin for now; room is whether any
// may.
func (l *lanes) closed(now time.Time) (clientIDs []string, room bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, c := range l.byClient {
		if c.busy >= perClient || c.failures > 0 && (c.busy > 0 || now.Before(c.until)) {
			clientIDs = append(clientIDs, id)
		}
	}
	return clientIDs, l.busy < workers
}

// enter begins an attempt.
func (l *lanes) enter(clientID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byClient[clientID] == nil {
		l.byClient[clientID] = new(lane)
	}
	l.byClient[clientID].busy++
	l.busy++
}

// leave ends an attempt. It returns how often the client had failed in a row
// before, and has now.
func (l *lanes) leave(clientID string, failed error, now time.Time) (before, after int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.byClient[clientID]
	c.busy--
	l.busy--
	before = c.failures
	switch {
	case failed == nil:
		c.failures = 0
	case !now.Before(c.until): // attempts that fail together are one failure
		c.until = now.Add(min(firstPause<<min(c.failures, 10), lastPause))
		c.failures++
	}
	if c.busy == 0 && c.failures == 0 {
		delete(l.byClient, clientID)
	}
	return before, c.failures
}
