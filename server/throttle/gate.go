package throttle

import (
	"context"
	"sync"
)

// gate lets a few at a time through per key, and a few more wait.
type gate struct {
	// width is how many may be inside at once, queue how many may wait.
	width, queue int

	mu    sync.Mutex
	lanes map[string]*lane
}

// lane is one key's place in a gate, there only while somebody is.
type lane struct {
	people int           // inside and waiting
	inside chan struct{} // has a token per person inside
}

func newGate(width, queue int) *gate {
	return &gate{width: width, queue: queue, lanes: map[string]*lane{}}
}

// enter waits for its turn and returns how to leave. It fails with errFull when
// the queue is, and with ctx.Err().
func (g *gate) enter(ctx context.Context, key string) (leave func(), err error) {
	l, ok := g.join(key)
	if !ok {
		return nil, errFull
	}
	select {
	case l.inside <- struct{}{}:
		return func() { <-l.inside; g.part(key, l) }, nil
	case <-ctx.Done():
		g.part(key, l)
		return nil, ctx.Err()
	}
}

func (g *gate) join(key string) (*lane, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.lanes[key]
	if l == nil {
		l = &lane{inside: make(chan struct{}, g.width)}
		g.lanes[key] = l
	}
	if l.people >= g.width+g.queue {
		return nil, false
	}
	l.people++
	return l, true
}

func (g *gate) part(key string, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.people--; l.people == 0 {
		delete(g.lanes, key)
	}
}
