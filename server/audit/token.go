package audit

import (
	"time"

	"github.com/countersign/countersign/storage"
)

// Holder is who got the newest refresh token of a grant, and when.
type Holder struct {
	Address, UserAgent string
	Since              time.Time
}

// HolderOf is who holds the newest refresh token of a grant.
func HolderOf(g storage.Grant) Holder {
	return Holder{Address: g.RefreshedIPAddress, UserAgent: g.RefreshedUserAgent, Since: g.RefreshedAt}
}

func (h Holder) describe(f *fields) {
	f.text("held_by_address", h.Address)
	f.text("held_by_user_agent", h.UserAgent)
	f.time("held_since", h.Since)
}

// TokenRefreshed is `token.refreshed`: a refresh token was exchanged.
// connector_id, user_id, client_id, grant_id, sid, generation (the new one's).
type TokenRefreshed struct {
	Grant      Grant
	Generation int64
}

func (TokenRefreshed) name() string { return "token.refreshed" }

func (e TokenRefreshed) describe(f *fields) {
	e.Grant.describe(f)
	f.number("generation", e.Generation)
}

// TokenRepeated is `token.repeated`: a refresh token was presented again a moment
// after it was exchanged, as by a client that lost the response, and the same
// successor was given. The fields are those of token.refreshed and
// held_by_address, held_by_user_agent, held_since: who got it first.
type TokenRepeated struct {
	Grant      Grant
	Generation int64
	HeldBy     Holder
}

func (TokenRepeated) name() string { return "token.repeated" }

func (e TokenRepeated) describe(f *fields) {
	e.Grant.describe(f)
	f.number("generation", e.Generation)
	e.HeldBy.describe(f)
}

// TokenReused is `token.reused`: a refresh token was presented that was exchanged
// before, and not a moment ago. Two have it, so the login was revoked.
// connector_id, user_id, client_id, grant_id, sid, generation (the newest one's),
// presented_generation, held_by_address, held_by_user_agent, held_since. Who
// presented the old one is in address and user_agent.
type TokenReused struct {
	Grant                 Grant
	Generation, Presented int64
	HeldBy                Holder
}

func (TokenReused) name() string { return "token.reused" }

func (e TokenReused) describe(f *fields) {
	e.Grant.describe(f)
	f.number("generation", e.Generation)
	f.number("presented_generation", e.Presented)
	e.HeldBy.describe(f)
}
