// Package storage is the contract between the provider and the place where its
// few records live.
//
// It speaks in transitions (SignIn, Authorize, RedeemCode, RevokeGrant), not in
// rows to edit: each method is one transaction, and whether a conditional
// update hit a row is the decision, so that two racing requests, two replicas
// or a crash between two lines cannot both win. It refuses to hold anything for
// a person who has not proved who they are, with one exception: the count of
// failed sign-ins, which expires. It holds no rule of a protocol; those live in
// server/oauth.
//
// Threat: whoever reads the database must not be able to sign in with what they
// read. Session ids are stored as hashes, codes and tokens are derived from
// secrets that are not here, private keys are sealed. (Without `secrets:` in the
// configuration the master secret itself is a row: see MasterSecret.)
package storage

import (
	"context"
	"errors"
	"time"
)

// Errors that every engine returns, to be tested with errors.Is. Anything else
// is a defect or a damaged database. A cancelled or expired ctx comes back as
// ctx.Err().
var (
	// ErrNotFound: no live row has that key. A row whose expiry is not after the
	// passed now counts as absent.
	ErrNotFound = errors.New("not found")

	// ErrConflict: the row is not in the state that the transition starts from;
	// somebody else was first. Nothing was changed.
	ErrConflict = errors.New("conflict")

	// ErrUnavailable: the database could not be reached, refused, or did not
	// answer within the statement timeout. A transition may or may not have
	// happened; reads may be repeated at once, transitions are safe to repeat
	// because each is conditional.
	ErrUnavailable = errors.New("storage unavailable")

	// ErrInvalid: the record cannot be stored as it is (see "Text" at Store).
	// Nothing was changed. It is the requester's mistake, never a server_error.
	ErrInvalid = errors.New("invalid record")

	// ErrNewerSchema: the database was migrated by a newer version of the
	// program. Waiting does not help; running that version does.
	ErrNewerSchema = errors.New("the database schema is newer than this program")
)

// Store is what an engine implements. All methods may be called concurrently,
// from several processes on the same database.
//
// Promises common to all methods:
//
//   - One method is one transaction: all of it happens or nothing does, also
//     when ctx is cancelled in the middle or the process is killed.
//   - now is an argument; the database's own clock decides nothing.
//   - Times come back in UTC, kept to the microsecond. The zero time.Time means
//     "not set" and survives the round trip.
//   - Slices come back nil when they were empty.
//   - A record is safe to change after it was passed in or returned.
//
// Text: strings are UTF-8 without NUL, because PostgreSQL holds no other. What a
// stranger sends as %00 must not become a server error, nor be bent into
// somebody else's key, so a transition given another string is ErrInvalid and
// changes nothing, and a lookup by such a key finds nothing. The same goes for a
// connector, user or client id, kid or lease name of more than MaxKey bytes.
// Two exceptions: the keys of login failures are any bytes of any length (a
// guess is counted whatever it guesses), and of user agents, which only
// describe, bytes that are not text come back as U+FFFD.
type Store interface {
	Sessions
	Grants
	Identities
	Consents
	LoginFailures
	SigningKeys
	Leases
	Garbage
	LogoutDeliveries
	Arrivals

	// MasterSecret stores candidate if no master secret is stored yet, and
	// returns the one that is. Among racing callers all get the same secret.
	// It is used only when the configuration names no secrets of its own.
	MasterSecret(ctx context.Context, candidate []byte, now time.Time) ([]byte, error)

	// Ping asks the database for its clock, through the same pool and limits as
	// every other call. Its answer is what readiness and the clock-skew warning
	// are made of.
	Ping(ctx context.Context) (time.Time, error)

	// Close releases every connection. Calls that follow return ErrUnavailable.
	Close() error
}

// Clients are the relying parties.
type Clients interface {
	// Client returns a client by its client_id, or ErrNotFound.
	Client(ctx context.Context, id string) (Client, error)
}

// Sessions are signed-in browsers.
type Sessions interface {
	// SignIn stores that somebody has just proved who they are: it upserts the
	// identity, deletes the session it replaces (same or another person's) and,
	// when that one's SID does not live on in the new one, ends what ends with it
	// (see Ending), inserts the new one, clears the named login failures and, when the way to
	// the client is already free (no consent to ask), inserts the grant too.
	// Identity.ExpiresAt never moves backwards. replaced reports whether this call
	// deleted the session: of sign-ins that race to replace one, one does.
	SignIn(ctx context.Context, in SignIn) (replaced bool, err error)

	// Session returns the session with that id hash and the identity it belongs
	// to, or ErrNotFound when it does not exist or ExpiresAt is not after now.
	// Idle expiry is a policy, decided by the caller from LastUsedAt.
	Session(ctx context.Context, idHash [32]byte, now time.Time) (Session, Identity, error)

	// EndSession deletes a session, and ends what ends with it (see Ending). It
	// reports whether this call did it; one that is not there is (false, nil).
	EndSession(ctx context.Context, idHash [32]byte, with Ending) (bool, error)

	// EndSessions deletes up to Limit sessions of a selection, whose person has
	// authenticated by Before, and ends what ends with each (see Ending), after
	// authorizations that use them: none of those sessions makes a grant afterwards.
	// Callers go on from Next until Done; starting over is safe.
	//
	// With a session that is found by UnusedSince ends nothing while another one with
	// its SID is alive (two tabs that signed in at once have made both).
	EndSessions(ctx context.Context, in SessionEnd) (Revoked, error)

	// SessionsOf returns the live sessions of a person, those first in which they
	// authenticated last.
	SessionsOf(ctx context.Context, in Holding) ([]Session, error)
}

// Grants are logins of one person at one client on one device.
type Grants interface {
	// Authorize inserts a grant for a person who is already signed in, together
	// with the consent they gave (when not nil), and touches their session (when
	// asked). ErrConflict when that session has ended in the meantime: then
	// nothing is stored.
	Authorize(ctx context.Context, in Authorization) error

	// Grant returns a grant and the identity it belongs to. ErrNotFound when it
	// does not exist or ExpiresAt is not after now. A revoked or redeemed grant
	// is returned: the caller must look at RevokedAt and CodeRedeemedAt.
	Grant(ctx context.Context, id GrantID, now time.Time) (Grant, Identity, error)

	// RedeemCode moves a grant from "code issued" to "code redeemed": it sets
	// CodeRedeemedAt and RefreshedAt to Now, RefreshedUserAgent,
	// RefreshedIPAddress and ExpiresAt, moves the identity's ExpiresAt so that it
	// is not before, if and only if the code was not redeemed, CodeExpiresAt is
	// after Now, the grant is neither revoked nor expired at Now, and its identity
	// is still there. Otherwise ErrConflict, also when there is no such grant.
	// Among racing redeemers exactly one wins.
	RedeemCode(ctx context.Context, in Redemption) error

	// RotateGrant moves a grant from the generation of its newest refresh token
	// to the next, and returns it as it is then (Grant.Rotated), with its identity:
	// it sets Generation to Next, RefreshedAt to Now, and RefreshedUserAgent and
	// RefreshedIPAddress, if and only if the grant belongs to ClientID, is at
	// Generation, was redeemed, is neither revoked nor expired at Now, has a
	// RefreshedAt after UsedAfter, and its identity has a CheckedAt after the
	// limit of its connector, if CheckedAfter has one. Otherwise ErrConflict, also
	// when there is no such grant; the caller reads the grant to learn why. Among
	// racing callers with one generation exactly one wins.
	RotateGrant(ctx context.Context, in Rotation) (Grant, Identity, error)

	// RevokeGrants ends the live grants of a selection, one batch of them: it looks
	// at up to Limit rows from After on, and ends those that are neither revoked nor
	// expired at Now and were made by Before. Callers go on from Next until Done.
	// What is ended stays so when a later batch fails; starting over is safe, and
	// what ended before keeps its first reason. A grant whose Authorize or SignIn
	// commits while its batch runs may escape, as one that comes a moment later
	// does; whoever wants that not to happen ends the sessions first.
	RevokeGrants(ctx context.Context, in Revocation) (Revoked, error)

	// GrantsOf returns the live grants of a person whose code was redeemed, the
	// newest first.
	GrantsOf(ctx context.Context, in Holding) ([]Grant, error)

	// RevokeGrant ends a grant: from its commit on, Grant shows RevokedAt. It
	// reports whether this call did it; an unknown, expired or already revoked
	// grant is (false, nil) and keeps its first reason.
	RevokeGrant(ctx context.Context, id GrantID, now time.Time, reason string) (bool, error)
}

// Identities are what upstreams last said of people. SignIn stores them; these
// keep them fresh.
type Identities interface {
	// RecheckIdentity stores what the connector says now: the claims, CheckedAt
	// and, sealed by the caller, what it wants to have when it is asked again. It
	// changes nothing, and returns no error, when the stored CheckedAt is later
	// (another replica asked after us). ExpiresAt never moves backwards.
	// ErrNotFound when there is no such identity.
	RecheckIdentity(ctx context.Context, id Identity, sealedSecret []byte) error

	// ClaimRecheck gives one caller the right to ask the connector about a person
	// until in.Until, and returns what is stored of them: an upstream's refresh
	// token may be good for one use. When CheckedAt is after in.CheckedAfter there
	// is nothing to ask: then it claims nothing. ErrConflict when somebody else has
	// the right and in.Now is not after their Until; ErrNotFound when there is no
	// such identity. RecheckIdentity and SignIn end the claim.
	ClaimRecheck(ctx context.Context, in RecheckClaim) (Identity, []byte, error)
}

// Consents are what people allowed clients to know.
type Consents interface {
	// Consent returns what the person allowed the client, or ErrNotFound when
	// there is nothing or ExpiresAt is not after now.
	Consent(ctx context.Context, connectorID, userID, clientID string, now time.Time) (Consent, error)
}

// LoginFailures count wrong passwords, per account and per address, for every
// replica to see. They are the only thing stored for strangers, and only a
// failure writes.
type LoginFailures interface {
	// RecordLoginFailure adds one to the count of each key and sets LastAt to
	// now and ExpiresAt to now+window. A count whose ExpiresAt is not after now
	// starts again at one. No increment is lost among racing callers.
	RecordLoginFailure(ctx context.Context, keys []string, now time.Time, window time.Duration) error

	// LoginFailures returns the counts that are not expired; keys without one
	// are absent from the map.
	LoginFailures(ctx context.Context, keys []string, now time.Time) (map[string]LoginFailure, error)
}

// SigningKeys are the keys of the JWKS, private parts sealed by the caller.
type SigningKeys interface {
	// SigningKeys returns all keys, ordered by algorithm and sequence.
	SigningKeys(ctx context.Context) ([]SigningKey, error)

	// AddSigningKey inserts a key. ErrConflict when (Algorithm, Sequence) or KID
	// is taken: another replica was first, reload and look again.
	AddSigningKey(ctx context.Context, key SigningKey) error

	// DeleteSigningKey removes a key. It reports whether this call did it; one that
	// is gone is (false, nil).
	DeleteSigningKey(ctx context.Context, kid string) (bool, error)
}

// Leases say which replica does a periodic job. They save work; correctness
// never rests on them.
type Leases interface {
	// AcquireLease gives holder the named lease until the given time, if it is
	// free, expired at now, or already held by the same holder (then it is
	// extended). It reports whether holder has it.
	AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (bool, error)

	// ReleaseLease frees the lease if holder has it; otherwise it does nothing.
	ReleaseLease(ctx context.Context, name, holder string) error
}

// Garbage is what has expired: every method takes it for absent already.
type Garbage interface {
	// DeleteExpired deletes up to Limit rows of one table whose ExpiresAt is not
	// after Now, those first that expired first. Rows that somebody else is just
	// changing may stay for another time.
	//
	// What is alive at Now is never deleted, also when it becomes so in the same
	// moment: an identity goes only when its ExpiresAt, as SignIn and RedeemCode
	// move it, is not after Now. A caller that is behind Now may find gone what
	// was alive for it, never half of it: no code is redeemed for an identity
	// that is deleted. ErrInvalid for a table that is not one of Expiring, or a
	// Limit below one.
	DeleteExpired(ctx context.Context, in Expired) (Deleted, error)
}

// Arrivals are people whom an upstream's own site has sent back with a form. The
// browser sends no cookie of ours with it, so what was posted is verified, kept
// under an id of its own, and taken when the browser comes with its cookie. An
// upstream's request to sign somebody out is kept, too, so that it counts once;
// nobody takes it.
type Arrivals interface {
	// KeepArrival stores an arrival. ErrConflict when one with that ID is stored
	// whose ExpiresAt is after now, taken or not: each arrives once.
	KeepArrival(ctx context.Context, a Arrival, now time.Time) error

	// TakeArrival returns an arrival and empties it. ErrNotFound when there is
	// none, it was taken, or TakeUntil is not after now. Among racing callers
	// exactly one gets it.
	TakeArrival(ctx context.Context, id [32]byte, now time.Time) (Arrival, error)
}

// LogoutDeliveries are the clients that have still to be told that a session has
// ended (OpenID Connect Back-Channel Logout 1.0). Sessions.EndSession and SignIn
// insert them.
type LogoutDeliveries interface {
	// ClaimLogoutDelivery takes the delivery that has been due longest at now, of
	// a client that is not one of except, and makes it due again at until, in case
	// nobody finishes it. It returns the delivery as it is then: Attempts counts
	// this claim. ErrNotFound when none is due. Among racing callers each delivery
	// is claimed once. One at its ExpiresAt is returned like any other.
	ClaimLogoutDelivery(ctx context.Context, except []string, now, until time.Time) (LogoutDelivery, error)

	// PostponeLogoutDelivery makes a claimed delivery due at next, unless somebody
	// has claimed it again since, or it is finished: then it does nothing.
	PostponeLogoutDelivery(ctx context.Context, d LogoutDelivery, next time.Time) error

	// FinishLogoutDelivery deletes a delivery. Deleting one that is gone is no
	// error.
	FinishLogoutDelivery(ctx context.Context, d LogoutDelivery) error
}
