package clients

import (
	"context"
	"errors"
	"fmt"

	"github.com/countersign/countersign/storage"
)

// Lookup returns a client, or nil when there is none with that id. The error
// says that the lookup itself failed.
func Lookup(ctx context.Context, from storage.Clients, id string) (*storage.Client, error) {
	if id == "" {
		return nil, nil
	}
	c, err := from.Client(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up a client: %w", err)
	}
	return &c, nil
}
