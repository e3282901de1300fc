package garbage

import "time"

// Pace says how large the next batch is and how long to rest before it, so that
// requests find the database idle most of the time and never behind a long
// transaction.
type Pace struct {
	// First is the size of the first batch, in rows; Least and Most bound it.
	First, Least, Most int
	// Target is how long a batch should take.
	Target time.Duration
	// Rest is how much longer than a batch the pause after it is: with 9, a tenth
	// of the time goes to deleting.
	Rest int
	// LongestPause bounds it when a batch was very slow.
	LongestPause time.Duration
}

// DefaultPace deletes about ten thousand rows a second where a batch is fast, in a
// tenth of the time. A batch that takes longer than a few requests is halved; a
// shorter target would halve the batches of every busy database to nothing.
var DefaultPace = Pace{
	First: 100, Least: 25, Most: 1000,
	Target: 20 * time.Millisecond, Rest: 9, LongestPause: 15 * time.Second,
}

// After decides what follows a batch of limit rows that took so long. A clock
// that stepped meanwhile makes a mistake of one pause.
func (p Pace) After(limit int, took time.Duration) (next int, pause time.Duration) {
	took = max(took, 0)
	switch {
	case took > p.Target:
		next = limit / 2
	case took < p.Target/2:
		next = limit * 2
	default:
		next = limit
	}
	// Compared before it is multiplied: took may be any number.
	if pause = p.LongestPause; took < p.LongestPause/time.Duration(p.Rest) {
		pause = took * time.Duration(p.Rest)
	}
	return min(max(next, p.Least), p.Most), pause
}
