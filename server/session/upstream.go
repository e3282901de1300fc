package session

import (
	"fmt"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/storage"
)

// sealUpstream is what is stored of the session at the upstream; nil for nothing,
// and for too much. It opens for this session only: it is of one browser, and a row
// that was copied must not sign another one out.
func (b *Browsers) sealUpstream(idHash [32]byte, kept []byte) ([]byte, error) {
	if len(kept) == 0 || len(kept) > connector.MaxSession {
		return nil, nil
	}
	sealed, err := b.box.Seal(kept, idHash[:])
	if err != nil {
		return nil, fmt.Errorf("sealing what an upstream gave: %w", err)
	}
	return sealed, nil
}

// Upstream is what the connector wants to have when the person signs out; nil when
// there is nothing, or it was sealed with secrets that are gone.
func (b *Browsers) Upstream(s storage.Session) []byte {
	kept, err := b.box.Open(s.UpstreamSealed, s.IDHash[:])
	if err != nil {
		return nil
	}
	return kept
}
