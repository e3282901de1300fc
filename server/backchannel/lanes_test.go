package backchannel

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var (
	t0     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errOut = errors.New("out of order")
)

func newLanes() *lanes { return &lanes{byClient: map[string]*lane{}} }

func (l *lanes) isClosed(id string, at time.Duration) bool {
	closed, _ := l.closed(t0.Add(at))
	return slices.Contains(closed, id)
}

// A client that answers gets a share of the workers and no more, so that one with
// a thousand deliveries leaves room for others.
func TestLanesShare(t *testing.T) {
	l := newLanes()
	for range perClient {
		if l.isClosed("a", 0) {
			t.Fatal("closed too early")
		}
		l.enter("a")
	}
	if !l.isClosed("a", 0) || l.isClosed("b", 0) {
		t.Error("a has its share, b has nothing yet")
	}
	l.leave("a", nil, t0)
	if l.isClosed("a", 0) {
		t.Error("a finished one, and is still closed")
	}
	for i := range workers - perClient + 1 {
		if _, room := l.closed(t0); !room {
			t.Fatalf("no room for worker %d", i)
		}
		l.enter(string(rune('b' + i)))
	}
	if _, room := l.closed(t0); room {
		t.Error("there is room for more workers than there are")
	}
}

// A client that fails is left alone, longer each time, and then tried once.
func TestLanesPause(t *testing.T) {
	l := newLanes()
	for range perClient {
		l.enter("dead")
	}
	for i := range perClient { // what fails together is one failure
		before, after := l.leave("dead", errOut, t0)
		if (before == 0) != (i == 0) || after != 1 {
			t.Errorf("failure %d: %d, then %d", i, before, after)
		}
	}
	at := time.Duration(0)
	for _, pause := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300, 300} {
		pause *= time.Second
		if !l.isClosed("dead", at+pause-1) || l.isClosed("dead", at+pause) {
			t.Fatalf("at %v: not a pause of %v", at, pause)
		}
		at += pause
		l.enter("dead")
		if !l.isClosed("dead", at+time.Hour) {
			t.Fatal("more than one attempt at a client that fails")
		}
		l.leave("dead", errOut, t0.Add(at))
	}
	l.enter("dead")
	if before, after := l.leave("dead", nil, t0.Add(at)); before == 0 || after != 0 || l.isClosed("dead", at) {
		t.Errorf("back: %d, then %d failures", before, after)
	}
	if len(l.byClient) != 0 || l.busy != 0 {
		t.Errorf("left behind: %v, %d", l.byClient, l.busy)
	}
}

// Attempts are spread over the day in which they are worth it.
func TestDelay(t *testing.T) {
	var got []time.Duration
	var sum time.Duration
	for i := int64(1); sum < 24*time.Hour; i++ {
		got = append(got, delay(i))
		sum += delay(i)
	}
	if !slices.IsSorted(got) || got[0] != firstDelay || got[1] != 3*firstDelay || got[len(got)-1] != lastDelay || len(got) > 40 {
		t.Errorf("%v", got)
	}
	if delay(0) != firstDelay || delay(1<<62) != lastDelay {
		t.Error("the ends")
	}
}
