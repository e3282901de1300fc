// Package keys holds the provider's signing keys: it makes and rotates them,
// signs and verifies our own tokens, and renders the JWKS.
//
// It refuses to take an algorithm from a token, to sign with a key that relying
// parties cannot know yet while there is another, and to replace keys that it
// cannot open. It knows nothing of claims.
//
// Threat: whoever reads the database must not be able to sign (private keys are
// sealed, bound to their kid and algorithm), whoever writes to it must not be
// able to publish a key of theirs (public keys are derived from the sealed
// private ones), and tokens that come back are forged, altered or of another
// type. Replicas race, the store goes away, and clocks are wrong.
package keys

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// Store is what keys need of a storage.Store. Ping tells a clock that is wrong,
// before it rotates keys.
type Store interface {
	storage.SigningKeys
	storage.Leases
	clock.Pinger
}

// Config is what New needs.
type Config struct {
	// Store holds the keys. Required.
	Store Store
	// Keyring seals the private keys. Required.
	Keyring *seal.Keyring
	// Algorithms in use, the default first: the server's and its clients'.
	// Required.
	Algorithms []string
	// RotationPeriod is how long a key signs; zero: DefaultRotationPeriod.
	RotationPeriod time.Duration
	// MaxTokenLifetime is that of the longest-lived token that is signed.
	// Required.
	MaxTokenLifetime time.Duration
	// Now is the clock. Required.
	Now func() time.Time
	// Random makes the replica's name, jitter, and keys as far as crypto allows.
	// nil: crypto/rand.Reader.
	Random io.Reader
	// Logger is told when maintenance begins to fail and when it works again.
	// Required.
	Logger *slog.Logger
	// Audit may be nil.
	Audit *audit.Log
}

// Keys signs and verifies. It is safe for concurrent use.
type Keys struct {
	store   Store
	box     *seal.Box
	policy  Policy
	now     func() time.Time
	random  io.Reader
	log     *slog.Logger
	audit   *audit.Log
	holder  string
	current atomic.Pointer[snapshot]
	trouble error // what was last logged; used by Load and then Run alone
}

// New checks the configuration. It starts nothing: Load comes next, then Run.
func New(c Config) (*Keys, error) {
	if c.Store == nil || c.Keyring == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("keys: Store, Keyring, Now and Logger are required")
	}
	if c.RotationPeriod == 0 {
		c.RotationPeriod = DefaultRotationPeriod
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	policy, err := NewPolicy(c.Algorithms, c.RotationPeriod, c.MaxTokenLifetime)
	if err != nil {
		return nil, err
	}
	var holder [16]byte
	if _, err := io.ReadFull(c.Random, holder[:]); err != nil {
		return nil, fmt.Errorf("naming this replica: %w", err)
	}
	k := &Keys{
		store: c.Store, box: c.Keyring.Box(sealLabel), policy: policy,
		now: c.Now, random: c.Random, log: c.Logger, audit: c.Audit, holder: hex.EncodeToString(holder[:]),
	}
	k.current.Store(&snapshot{})
	return k, nil
}

// Policy is the policy in force.
func (k *Keys) Policy() Policy { return k.policy }

// JWKS is the document of the keys as last loaded.
func (k *Keys) JWKS() Document { return k.loaded().document }

// Ages is how long the signing key of each algorithm has been signing.
func (k *Keys) Ages(now time.Time) map[string]time.Duration {
	ages := map[string]time.Duration{}
	for _, alg := range k.policy.Algorithms {
		if signer := k.loaded().signer(alg, now); signer != nil {
			ages[alg] = max(0, now.Sub(signer.row.ActiveFrom))
		}
	}
	return ages
}

// Sign signs the claims, as JSON, and returns the compact serialization and the
// kid. alg is one of the configured algorithms; empty: the default. typ is the
// type of token (RFC 8725 section 3.11): "JWT", "at+jwt".
func (k *Keys) Sign(alg, typ string, claims any) (compact, kid string, err error) {
	if alg == "" {
		alg = k.policy.Algorithms[0]
	}
	if !slices.Contains(k.policy.Algorithms, alg) {
		return "", "", fmt.Errorf("signing: algorithm %q is not configured", alg)
	}
	if typ == "" {
		return "", "", errors.New("signing: no typ")
	}
	with := k.loaded().signer(alg, k.now())
	if with == nil {
		return "", "", fmt.Errorf("signing: no key for %s is loaded", alg)
	}
	compact, err = with.sign(typ, claims)
	return compact, with.row.KID, err
}

func (k *Keys) loaded() *snapshot { return k.current.Load() }
