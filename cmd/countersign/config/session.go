package config

import (
	"regexp"
	"strings"
	"time"
)

// Sessions is how long a browser stays signed in.
type Sessions struct {
	// CookieName is the name without the prefix __Host- or __Secure-, which is
	// added where it applies. Default: countersign_session.
	CookieName string `mapstructure:"cookieName"`
	// AbsoluteLifetime is when a person has to sign in again in any case.
	// Default: 24h.
	AbsoluteLifetime time.Duration `mapstructure:"absoluteLifetime"`
	// ValidIfNotUsedFor is when an unused session ends. Default: 1h.
	ValidIfNotUsedFor time.Duration `mapstructure:"validIfNotUsedFor"`
	// RememberMeCheckedByDefault ticks "keep me signed in". Default: false.
	RememberMeCheckedByDefault bool `mapstructure:"rememberMeCheckedByDefault"`
	// RememberMeLifetime stands for both limits above where a person has ticked
	// "keep me signed in". Default: 720h.
	RememberMeLifetime time.Duration `mapstructure:"rememberMeLifetime"`
	// SSOSharedWithDefault is for clients without ssoSharedWith: "all" (default)
	// or "none".
	SSOSharedWithDefault string `mapstructure:"ssoSharedWithDefault"`
}

func defaultSessions() Sessions {
	return Sessions{
		CookieName:           "countersign_session",
		AbsoluteLifetime:     24 * time.Hour,
		ValidIfNotUsedFor:    time.Hour,
		RememberMeLifetime:   720 * time.Hour,
		SSOSharedWithDefault: "all",
	}
}

// cookieName is a token (RFC 6265 section 4.1.1), without its odder letters.
var cookieName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (c *checker) sessions() {
	const path = "sessions"
	s := &c.cfg.Sessions
	if !cookieName.MatchString(s.CookieName) {
		c.problem(path+".cookieName", "%q is no name for a cookie: use letters, digits and . _ -", clip(s.CookieName))
	}
	if lower := strings.ToLower(s.CookieName); strings.HasPrefix(lower, "__host-") || strings.HasPrefix(lower, "__secure-") {
		c.problem(path+".cookieName", "has a prefix that is added where it applies: remove it")
	}
	c.lifetime(path+".absoluteLifetime", s.AbsoluteLifetime, time.Minute, 366*24*time.Hour)
	c.lifetime(path+".rememberMeLifetime", s.RememberMeLifetime, time.Minute, 366*24*time.Hour)
	if !c.given(path + ".validIfNotUsedFor") {
		s.ValidIfNotUsedFor = min(s.ValidIfNotUsedFor, s.AbsoluteLifetime)
	}
	c.lifetime(path+".validIfNotUsedFor", s.ValidIfNotUsedFor, time.Minute, s.AbsoluteLifetime)
	c.oneOf(path+".ssoSharedWithDefault", s.SSOSharedWithDefault, "all", "none")
}
