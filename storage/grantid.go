package storage

import (
	"fmt"
	"io"
	"time"
)

// NewGrantID makes a UUID of version 7 (RFC 9562 section 5.7): milliseconds of
// now, then 74 bits from random. Ids made one after the other are neighbours in
// the index.
func NewGrantID(now time.Time, random io.Reader) (id GrantID, err error) {
	if _, err := io.ReadFull(random, id[6:]); err != nil {
		return GrantID{}, fmt.Errorf("reading randomness: %w", err)
	}
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}
