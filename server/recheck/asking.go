package recheck

import "sync"

// asking counts the questions that are under way.
type asking struct {
	mu sync.Mutex
	n  int
	// idle is closed when there are none; nil when nobody waits for that.
	idle chan struct{}
}

// begin counts one, until end is called.
func (a *asking) begin() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	return a.end
}

func (a *asking) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n--; a.n == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
}

// wait returns when there are none. (A sync.WaitGroup would not let questions begin
// while somebody waits.)
func (a *asking) wait() {
	a.mu.Lock()
	if a.n == 0 {
		a.mu.Unlock()
		return
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	<-idle
}
