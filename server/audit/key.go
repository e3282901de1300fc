package audit

import "time"

// Key names a signing key.
type Key struct{ KID, Algorithm string }

func (k Key) describe(f *fields) {
	f.text("kid", k.KID)
	f.text("alg", k.Algorithm)
}

// KeyCreated is `key.created`: a signing key was made and is published. kid, alg,
// active_from: when it begins to sign.
type KeyCreated struct {
	Key        Key
	ActiveFrom time.Time
}

func (KeyCreated) name() string { return "key.created" }

func (e KeyCreated) describe(f *fields) {
	e.Key.describe(f)
	f.time("active_from", e.ActiveFrom)
}

// KeyActivated is `key.activated`: tokens are signed with this key from now on.
// kid, alg, active_from.
type KeyActivated struct {
	Key        Key
	ActiveFrom time.Time
}

func (KeyActivated) name() string { return "key.activated" }

func (e KeyActivated) describe(f *fields) {
	e.Key.describe(f)
	f.time("active_from", e.ActiveFrom)
}

// KeyRetired is `key.retired`: another key signs in place of this one, which
// still verifies. kid, alg.
type KeyRetired struct{ Key Key }

func (KeyRetired) name() string { return "key.retired" }

func (e KeyRetired) describe(f *fields) { e.Key.describe(f) }

// KeyDeleted is `key.deleted`: nothing can be verified with this key any more.
// kid, alg.
type KeyDeleted struct{ Key Key }

func (KeyDeleted) name() string { return "key.deleted" }

func (e KeyDeleted) describe(f *fields) { e.Key.describe(f) }
