package config

import "time"

// RefreshTokens is how refresh tokens live and rotate. In a client, what is absent
// is the server's.
type RefreshTokens struct {
	// ReuseInterval is how long a refresh token may be presented again after it
	// was used: the repeat gets the same successor, so that a lost response logs
	// nobody out. 0 turns it off. Default: 10s.
	ReuseInterval *time.Duration `mapstructure:"reuseInterval" config:"zero"`
	// ValidIfNotUsedFor ends a login that was not refreshed for so long.
	// Default: 12h.
	ValidIfNotUsedFor *time.Duration `mapstructure:"validIfNotUsedFor"`
	// AbsoluteLifetime ends a login however much it is used. Default: 720h.
	AbsoluteLifetime *time.Duration `mapstructure:"absoluteLifetime"`
	// DisableRotation keeps one refresh token valid, for clients that cannot
	// store a new one. Default: false.
	DisableRotation *bool `mapstructure:"disableRotation"`
}

// maxReuseInterval is more than any retry takes; the longer it is, the later a
// stolen token is noticed.
const maxReuseInterval = 5 * time.Minute

func (c *checker) refreshTokens(path string, r RefreshTokens) {
	if r.ReuseInterval != nil {
		c.lifetime(path+".reuseInterval", *r.ReuseInterval, 0, maxReuseInterval)
	}
	const year = 365 * 24 * time.Hour
	if r.ValidIfNotUsedFor != nil {
		c.lifetime(path+".validIfNotUsedFor", *r.ValidIfNotUsedFor, time.Minute, year)
	}
	if r.AbsoluteLifetime != nil {
		c.lifetime(path+".absoluteLifetime", *r.AbsoluteLifetime, time.Minute, year)
	}
}

// publicRotation warns of a client whose stolen refresh token nobody would notice:
// without a secret, rotation is all that binds one to its client.
func (c *checker) publicRotation(path string, s *StaticClient) {
	fixed := s.RefreshTokens.DisableRotation
	if fixed == nil {
		fixed = c.cfg.Expiry.RefreshTokens.DisableRotation
	}
	if s.Public && *fixed {
		c.warn(path, "is public and its refresh tokens do not rotate: a stolen one works until it ends, and nobody notices (RFC 9700 section 2.2.2)")
	}
}

// fillRefreshTokens puts the defaults of the server into what is absent.
func fillRefreshTokens(r *RefreshTokens) {
	fill(&r.ReuseInterval, 10*time.Second)
	fill(&r.ValidIfNotUsedFor, 12*time.Hour)
	fill(&r.AbsoluteLifetime, 30*24*time.Hour)
	fill(&r.DisableRotation, false)
}

func fill[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
