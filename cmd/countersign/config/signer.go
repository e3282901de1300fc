package config

import (
	"time"

	"github.com/countersign/countersign/server/keys"
	"github.com/countersign/countersign/server/oauth"
	"github.com/countersign/countersign/storage"
)

// Signer is how tokens are signed.
type Signer struct {
	// Type is "local" (default): keys are made here and kept, sealed, in the
	// storage.
	Type string `mapstructure:"type"`
	// Local is config: of the type local. It is always set.
	Local *LocalSigner `mapstructure:"local" config:"variant"`
}

// LocalSigner makes its own keys.
type LocalSigner struct {
	// KeysRotationPeriod is how long a key signs before the next one does.
	// Default: 24h.
	KeysRotationPeriod time.Duration `mapstructure:"keysRotationPeriod"`
	// Algorithm is RS256 (which every relying party has), ES256 or EdDSA.
	// Default: RS256.
	Algorithm string `mapstructure:"algorithm"`
}

func (c *checker) signer() {
	const path = "signer.config"
	local, older := c.cfg.Signer.Local, &c.cfg.Expiry.SigningKeys
	c.oneOf(path+".algorithm", local.Algorithm, "RS256", "ES256", "EdDSA")
	if local.KeysRotationPeriod != 0 && *older != 0 && local.KeysRotationPeriod != *older {
		c.problem("expiry.signingKeys", "is %s, but %s.keysRotationPeriod is %s: keep the latter", short(*older), path, short(local.KeysRotationPeriod))
		return
	}
	period := path + ".keysRotationPeriod"
	switch {
	case local.KeysRotationPeriod != 0:
	case *older != 0:
		period, local.KeysRotationPeriod = "expiry.signingKeys", *older
	default:
		local.KeysRotationPeriod = 24 * time.Hour
	}
	*older = local.KeysRotationPeriod
	c.lifetime(period, local.KeysRotationPeriod, 10*time.Second, 366*24*time.Hour)
	if c.bad[period] || c.bad[path+".algorithm"] {
		return
	}
	if _, err := keys.NewPolicy([]string{local.Algorithm}, local.KeysRotationPeriod, c.longestToken()); err != nil {
		c.problem(period, "%v", err)
	}
}

// longestToken is the lifetime of the longest-lived token that is signed.
func (c *checker) longestToken() time.Duration {
	var clients []storage.Client
	for _, s := range c.cfg.StaticClients {
		clients = append(clients, s.Record())
	}
	return oauth.LongestToken(oauth.Policy{
		IDTokenLifetime: c.cfg.Expiry.IDTokens, AccessTokenLifetime: c.cfg.Expiry.AccessTokens,
	}, clients)
}
