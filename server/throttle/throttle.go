// Package throttle limits failed sign-ins per account and per address, for all
// replicas together.
//
// It counts failures in the store and makes the next attempt wait, longer each
// time, up to a cap. It refuses to write anything but failures, to lock an
// account for good, and to keep what people typed.
//
// Threat: somebody guesses one person's password, or one password for everybody,
// from one address or many, at once rather than one after another, in every
// spelling of the user name; or fails on purpose to keep a person out.
package throttle

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/countersign/countersign/connector"
	"github.com/countersign/countersign/server/seal"
	"github.com/countersign/countersign/storage"
)

const (
	// One attempt per account runs at a time, else a hundred parallel guesses
	// would all be checked before the first failure is counted. An address has
	// room for an office.
	accountWidth, accountQueue = 1, 8
	addressWidth, addressQueue = 16, 64

	// fullRetry is how soon to come back to a full queue.
	fullRetry = time.Second

	// recordTimeout bounds how long a failure is being counted.
	recordTimeout = 5 * time.Second

	// maxUsernameBytes is more than any upstream's user names have.
	maxUsernameBytes = 1024
)

var errFull = errors.New("queue is full")

// WaitError: nothing was checked, come back later.
type WaitError struct {
	// RetryAfter is more than zero.
	RetryAfter time.Duration
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("too many failed sign-ins: wait %s", e.RetryAfter)
}

// Config is what New needs. All but Policy is required.
type Config struct {
	Store   storage.LoginFailures
	Keyring *seal.Keyring
	Now     func() time.Time
	// Policy is DefaultPolicy when zero.
	Policy Policy
}

// Limiter is safe for concurrent use.
type Limiter struct {
	store     storage.LoginFailures
	mac       *seal.MAC
	names     *seal.MAC // of accounts, in records
	now       func() time.Time
	policy    Policy
	accounts  *gate
	addresses *gate
}

// New checks the configuration.
func New(c Config) (*Limiter, error) {
	if c.Store == nil || c.Keyring == nil || c.Now == nil {
		return nil, errors.New("throttle: Store, Keyring and Now are required")
	}
	if c.Policy == (Policy{}) {
		c.Policy = DefaultPolicy
	}
	return &Limiter{
		store: c.Store, mac: c.Keyring.MAC("login-failures"), names: c.Keyring.MAC("login-records"), now: c.Now, policy: c.Policy,
		accounts:  newGate(accountWidth, accountQueue),
		addresses: newGate(addressWidth, addressQueue),
	}, nil
}

// Attempt is one sign-in that somebody tries.
type Attempt struct {
	ConnectorID string
	// Username is what was typed.
	Username string
	// Addr is where it comes from. The zero address is not counted.
	Addr netip.Addr
}

// Do calls verify, unless the account or the address has to wait: then it
// returns a *WaitError and has called nothing. What verify returns is returned.
// connector.ErrInvalidCredentials is counted first; nothing else is a guess.
// After success, clear has the counts to pass to storage.SignIn.ClearFailures,
// so that success writes nothing of its own.
//
// Without the store nothing is verified, and a failure that could not be counted
// is reported as the store's error: storage.ErrUnavailable.
func (l *Limiter) Do(ctx context.Context, a Attempt, verify func(context.Context) error) (clear []string, err error) {
	if len(a.Username) > maxUsernameBytes {
		return nil, connector.ErrInvalidCredentials // nobody's, so nothing is guessed
	}
	account := accountKey(l.mac, a.ConnectorID, a.Username)
	leave, err := l.enter(ctx, account, a.Addr)
	if err != nil {
		return nil, err
	}
	defer leave()

	now := l.now()
	keys := []string{account}
	address, counted := addressKey(l.mac, a.Addr, now)
	if counted {
		keys = append(keys, address)
	}
	failures, err := l.store.LoginFailures(ctx, keys, now)
	if err != nil {
		return nil, fmt.Errorf("reading login failures: %w", err)
	}
	wait := max(Wait(failures[account], l.policy.Account, now), Wait(failures[address], l.policy.Address, now))
	if wait > 0 {
		return nil, &WaitError{RetryAfter: wait}
	}
	err = verify(ctx)
	if errors.Is(err, connector.ErrInvalidCredentials) {
		return nil, l.record(ctx, keys, err)
	}
	if _, failed := failures[account]; err == nil && failed {
		// The address's count stays: else an account of one's own would pay for
		// guesses at those of others.
		return []string{account}, nil
	}
	return nil, err
}

// enter waits in both queues. The account's comes first: those who wait for one
// account then take no room from the others at their address.
func (l *Limiter) enter(ctx context.Context, account string, addr netip.Addr) (leave func(), err error) {
	leaveAccount, err := l.accounts.enter(ctx, account)
	if err != nil {
		return nil, queueError(err)
	}
	prefix, ok := network(addr)
	if !ok {
		return leaveAccount, nil
	}
	leaveAddress, err := l.addresses.enter(ctx, prefix.String())
	if err != nil {
		leaveAccount()
		return nil, queueError(err)
	}
	return func() { leaveAddress(); leaveAccount() }, nil
}

func queueError(err error) error {
	if errors.Is(err, errFull) {
		return &WaitError{RetryAfter: fullRetry}
	}
	return err
}

// record counts the failure even if whoever guessed has hung up.
func (l *Limiter) record(ctx context.Context, keys []string, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := l.store.RecordLoginFailure(ctx, keys, l.now(), Window); err != nil {
		return fmt.Errorf("recording a login failure: %w", err)
	}
	return failure
}
