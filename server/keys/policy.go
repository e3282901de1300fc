package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// DefaultRotationPeriod is how long a key signs.
	DefaultRotationPeriod = 24 * time.Hour

	// MinRotationPeriod keeps the intervals derived from the period above a
	// second, the resolution of Cache-Control.
	MinRotationPeriod = 4 * time.Second

	// maxPublished bounds the keys of one algorithm in the JWKS: relying parties
	// download all of them.
	maxPublished = 128

	maxReloadInterval = 15 * time.Second
	maxJWKSAge        = 5 * time.Minute

	// A retired key verifies hints for so long, and for so many periods at most.
	maxHintRetention        = 30 * 24 * time.Hour
	maxHintRetentionPeriods = 32

	clockSkew = 30 * time.Second
)

// Policy says when keys come and go. Each part of the lead is at most a quarter
// of the period, so that the next key can always be published in time.
type Policy struct {
	// Algorithms are those in use. Keys of others are only verified with.
	Algorithms []string
	// Period is how long a key signs.
	Period time.Duration
	// JWKSMaxAge is how long a relying party may cache the JWKS.
	JWKSMaxAge time.Duration
	// ReloadInterval is how often a replica reads the keys.
	ReloadInterval time.Duration
	// PublishLead is the least a key is published before it signs: a replica may
	// learn of it one reload late, a relying party one max-age later, and their
	// clocks differ.
	PublishLead time.Duration
	// Retention is how long a key verifies after its successor began to sign:
	// until the last token it signed has expired everywhere.
	Retention time.Duration
	// HintRetention is how long a key is kept after its successor began to sign,
	// and verifies hints. It is not less than Retention.
	HintRetention time.Duration
}

// NewPolicy derives a policy from what an operator configures. maxTokenLifetime
// is the lifetime of the longest-lived token that any key signs.
func NewPolicy(algorithms []string, period, maxTokenLifetime time.Duration) (Policy, error) {
	var errs []error
	if len(algorithms) == 0 {
		errs = append(errs, errors.New("no signing algorithm"))
	}
	for i, alg := range algorithms {
		if _, ok := families[alg]; !ok {
			errs = append(errs, fmt.Errorf("signing algorithm %q is not one of RS256, ES256, EdDSA", alg))
		}
		if slices.Contains(algorithms[:i], alg) {
			errs = append(errs, fmt.Errorf("signing algorithm %q is listed twice", alg))
		}
	}
	if period < MinRotationPeriod {
		errs = append(errs, fmt.Errorf("rotation period %s is shorter than %s", period, MinRotationPeriod))
	}
	if maxTokenLifetime <= 0 {
		errs = append(errs, errors.New("no token lifetime"))
	}
	if len(errs) > 0 {
		return Policy{}, errors.Join(errs...)
	}
	p := Policy{
		Algorithms:     slices.Clone(algorithms),
		Period:         period,
		JWKSMaxAge:     min(maxJWKSAge, period/4),
		ReloadInterval: min(maxReloadInterval, period/4),
	}
	p.PublishLead = p.JWKSMaxAge + p.ReloadInterval + min(clockSkew, period/4)
	p.Retention = maxTokenLifetime + p.ReloadInterval + clockSkew
	if n := p.Retention / period; n > maxPublished {
		return Policy{}, fmt.Errorf("tokens that live %s outlive %d keys of %s each: the limit is %d, rotate less often", maxTokenLifetime, n, period, maxPublished)
	}
	p.HintRetention = max(p.Retention, min(maxHintRetention, maxHintRetentionPeriods*period))
	return p, nil
}
