// Package session is the browser's single sign-on: one signed-in person per
// browser, remembered by an opaque cookie.
//
// It refuses to say what a session may be used for; that is decided by
// server/oauth. It only says whether there is one, and makes and ends them.
//
// Threat: a cookie is stolen, guessed, planted before a login (fixation) or
// outlives its owner's visit. The id has 256 random bits, only its hash is
// stored, a login always makes a new one, and idle and absolute expiry end it.
package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

// Config is what browsers' sessions depend on.
type Config struct {
	Store storage.Sessions
	// CookieName is the name without prefix.
	CookieName string
	// Secure is set when the issuer is https: the cookie is then Secure and its
	// name has the __Host- prefix (RFC 6265bis section 4.1.3.2).
	Secure bool
	// AbsoluteLifetime ends a session however much it is used, IdleTimeout when
	// it is not used.
	AbsoluteLifetime time.Duration
	IdleTimeout      time.Duration
	// RememberLifetime stands for both where a person asked to stay signed in.
	RememberLifetime time.Duration
	// BoundClientIDs are the clients whose logins end with the session they came
	// from, ToldClientIDs those that are told of its end.
	BoundClientIDs, ToldClientIDs []string
	// Ended is called after a session has ended, so that whoever is to be told
	// need not wait; nil: nobody is called.
	Ended func()
	// Keyring seals what connectors want to have when people sign out.
	Keyring *seal.Keyring
	Now     func() time.Time
	Random  io.Reader
}

// Browsers finds, makes and ends sessions.
type Browsers struct {
	cfg Config
	box *seal.Box
}

// New checks the configuration.
func New(cfg Config) (*Browsers, error) {
	if cfg.Store == nil || cfg.CookieName == "" || cfg.Keyring == nil || cfg.Now == nil || cfg.Random == nil {
		return nil, errors.New("session: Store, CookieName, Keyring, Now and Random are required")
	}
	if cfg.AbsoluteLifetime <= 0 || cfg.IdleTimeout <= 0 || cfg.RememberLifetime <= 0 {
		return nil, errors.New("session: AbsoluteLifetime, IdleTimeout and RememberLifetime must be positive")
	}
	return &Browsers{cfg: cfg, box: cfg.Keyring.Box("upstream-session")}, nil
}

// Current is the session of a browser, and who it belongs to.
type Current struct {
	Session  storage.Session
	Identity storage.Identity
}

// Current returns the live session of the browser that sent the request, or nil.
// The error says that the store failed.
func (b *Browsers) Current(ctx context.Context, r *http.Request) (*Current, error) {
	hash := b.Presented(r)
	if hash == ([32]byte{}) {
		return nil, nil
	}
	now := b.cfg.Now()
	s, id, err := b.cfg.Store.Session(ctx, hash, now)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("loading the session: %w", err)
	}
	if !alive(s, b.idle(s.Remember), now) {
		return nil, nil
	}
	return &Current{Session: s, Identity: id}, nil
}

// alive decides idle and absolute expiry.
func alive(s storage.Session, idle time.Duration, now time.Time) bool {
	return now.Before(s.ExpiresAt) && now.Before(s.LastUsedAt.Add(idle))
}

// absolute and idle are the limits of a session.
func (b *Browsers) absolute(remember bool) time.Duration {
	if remember {
		return b.cfg.RememberLifetime
	}
	return b.cfg.AbsoluteLifetime
}

func (b *Browsers) idle(remember bool) time.Duration {
	if remember {
		return b.cfg.RememberLifetime
	}
	return b.cfg.IdleTimeout
}

// NeedsTouch reports whether the use of a session for a client is worth a write:
// it is the client's first, or the record is older than a tenth of the idle
// timeout, at most a minute.
func (b *Browsers) NeedsTouch(s storage.Session, clientID string) bool {
	return !slices.Contains(s.ClientIDs, clientID) ||
		b.cfg.Now().Sub(s.LastUsedAt) > min(b.idle(s.Remember)/10, time.Minute)
}

// Login is what a new session is made of.
type Login struct {
	ConnectorID, UserID string
	AMR                 []string
	ClientID            string
	Remember            bool
	UserAgent           string
	IPAddress           string
	// Upstream is connector.Identity.Session.
	Upstream []byte
}

// Begin makes the session of a person who has just authenticated, and the id for
// its cookie. previous is the browser's live session, or nil. When it belongs to
// the same person the public SID and the clients they authenticated at are kept;
// the id in the cookie never is (session fixation). Nothing is stored yet.
func (b *Browsers) Begin(l Login, previous *Current) (s storage.Session, cookieID string, err error) {
	random := make([]byte, idBytes+16)
	if _, err := io.ReadFull(b.cfg.Random, random); err != nil {
		return s, "", fmt.Errorf("reading randomness: %w", err)
	}
	now := b.cfg.Now().UTC().Truncate(time.Microsecond)
	s = storage.Session{
		IDHash:         sha256.Sum256(random[:idBytes]),
		SID:            base64.RawURLEncoding.EncodeToString(random[idBytes:]),
		ConnectorID:    l.ConnectorID,
		UserID:         l.UserID,
		AuthTime:       now,
		AMR:            l.AMR,
		LoginClientIDs: []string{l.ClientID},
		ClientIDs:      []string{l.ClientID},
		Remember:       l.Remember,
		UserAgent:      l.UserAgent,
		IPAddress:      l.IPAddress,
		CreatedAt:      now,
		LastUsedAt:     now,
		ExpiresAt:      now.Add(b.absolute(l.Remember)),
	}
	if s.UpstreamSealed, err = b.sealUpstream(s.IDHash, l.Upstream); err != nil {
		return s, "", err
	}
	if previous != nil && previous.Session.ConnectorID == l.ConnectorID && previous.Session.UserID == l.UserID {
		s.SID, s.CreatedAt = previous.Session.SID, previous.Session.CreatedAt
		s.LoginClientIDs = union(s.LoginClientIDs, previous.Session.LoginClientIDs)
		s.ClientIDs = union(s.ClientIDs, previous.Session.ClientIDs)
	}
	return s, base64.RawURLEncoding.EncodeToString(random[:idBytes]), nil
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
