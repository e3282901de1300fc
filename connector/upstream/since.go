package upstream

import (
	"encoding/binary"
	"time"
)

// sinceBytes is the size of a time that a departure keeps: seconds since 1970.
const sinceBytes = 8

// KeepSince appends to what a departure keeps the time since which the person must
// have authenticated (connector.Departure.SeenSince), if there is one. The request for
// that goes through their browser, where it may be taken out: so the answer has to be
// checked against it.
func KeepSince(kept []byte, since time.Time) []byte {
	if since.IsZero() {
		return kept
	}
	return binary.BigEndian.AppendUint64(kept, uint64(since.Unix()))
}

// KeptSince is the inverse of KeepSince for a departure that keeps own bytes besides.
// It is not ok when no such departure kept this.
func KeptSince(kept []byte, own int) (since time.Time, ok bool) {
	switch len(kept) {
	case own:
		return time.Time{}, true
	case own + sinceBytes:
		return time.Unix(int64(binary.BigEndian.Uint64(kept[own:])), 0), true
	}
	return time.Time{}, false
}
