// Package clients finds relying parties by their client_id.
//
// It refuses to guess: an id is found exactly or not at all. The clients of the
// configuration file live here, in memory, and are never written to a database.
package clients

import (
	"context"
	"fmt"

	"github.com/countersign/countersign/storage"
)

// Static holds the clients of the configuration file. It implements
// storage.Clients.
type Static struct{ byID map[string]storage.Client }

var _ storage.Clients = Static{}

// NewStatic indexes clients by id. Two with the same id are an error.
func NewStatic(clients []storage.Client) (Static, error) {
	s := Static{byID: make(map[string]storage.Client, len(clients))}
	for _, c := range clients {
		if _, taken := s.byID[c.ID]; taken {
			return Static{}, fmt.Errorf("two clients have the id %q", c.ID)
		}
		s.byID[c.ID] = c
	}
	return s, nil
}

// Client implements storage.Clients.
func (s Static) Client(_ context.Context, id string) (storage.Client, error) {
	c, ok := s.byID[id]
	if !ok {
		return storage.Client{}, storage.ErrNotFound
	}
	return c, nil
}

// Find returns those of the ids that exist, and an error only when the lookup
// itself failed.
func Find(ctx context.Context, from storage.Clients, ids []string) (map[string]storage.Client, error) {
	found := make(map[string]storage.Client, len(ids))
	for _, id := range ids {
		c, err := Lookup(ctx, from, id)
		if err != nil {
			return nil, err
		}
		if c != nil {
			found[id] = *c
		}
	}
	return found, nil
}
