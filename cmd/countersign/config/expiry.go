package config

import (
	"strings"
	"time"
)

// Expiry says how long things are valid.
type Expiry struct {
	// SigningKeys is how long a key signs before the next one does. It is Dex's
	// older spelling of signer.config.keysRotationPeriod; in a checked Config it
	// equals Signer.Local.KeysRotationPeriod.
	SigningKeys time.Duration `mapstructure:"signingKeys"`
	// IDTokens is the lifetime of an id_token, at least 1m. Default: 10m.
	IDTokens time.Duration `mapstructure:"idTokens"`
	// AccessTokens is the lifetime of an access token. Default: that of an
	// id_token.
	AccessTokens time.Duration `mapstructure:"accessTokens"`
	// AuthCodes is the lifetime of an authorization code, at most 10m (RFC 6749
	// section 4.1.2). Default: 60s.
	AuthCodes time.Duration `mapstructure:"authCodes"`
	// AuthRequests is how long a person may take to sign in: the lifetime of a
	// sign-in page. Default: 30m.
	AuthRequests time.Duration `mapstructure:"authRequests"`
	// RefreshTokens is how refresh tokens live and rotate. In a checked Config
	// every field is set.
	RefreshTokens RefreshTokens `mapstructure:"refreshTokens"`
}

func (c *checker) expiry() {
	e := &c.cfg.Expiry
	c.lifetime("expiry.idTokens", e.IDTokens, time.Minute, 30*24*time.Hour)
	if e.AccessTokens == 0 {
		e.AccessTokens = e.IDTokens
	} else {
		c.lifetime("expiry.accessTokens", e.AccessTokens, time.Minute, 30*24*time.Hour)
	}
	c.lifetime("expiry.authCodes", e.AuthCodes, time.Second, 10*time.Minute)
	c.lifetime("expiry.authRequests", e.AuthRequests, time.Minute, 24*time.Hour)
	c.refreshTokens("expiry.refreshTokens", e.RefreshTokens)
	fillRefreshTokens(&e.RefreshTokens)
	if e.IDTokens > 24*time.Hour {
		c.warn("expiry.idTokens", "is %s: an id_token cannot be called back, so that a person who has left keeps access that long", short(e.IDTokens))
	}
}

// lifetime reports a duration outside its bounds.
func (c *checker) lifetime(path string, d, low, high time.Duration) {
	if d < low || d > high {
		c.problem(path, "is %s: give a duration from %s to %s", short(d), short(low), short(high))
	}
}

// short writes a duration as people do: 24h, not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
