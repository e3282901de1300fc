package keys

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/countersign/countersign/server/audit"
	"github.com/countersign/countersign/server/clock"
	"github.com/countersign/countersign/storage"
)

const (
	leaseName = "keys"

	// maxRounds bounds how often racing replicas make each other look again.
	maxRounds = 8
)

// Load reads the keys, and makes the first ones if there are none. Replicas that
// start at once on an empty store end up with the same keys. An error leaves
// nothing to sign with: ErrSecrets tells what to do, storage.ErrUnavailable can
// be tried again.
func (k *Keys) Load(ctx context.Context) error {
	err := k.maintain(ctx)
	if errors.Is(err, clock.ErrWrong) && k.complete() {
		k.report(ctx, err) // the stored keys will do
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading signing keys: %w", err)
	}
	return nil
}

// complete reports whether there is a key for every algorithm in use.
func (k *Keys) complete() bool {
	return len(k.Ages(k.now())) == len(k.policy.Algorithms)
}

// Run refreshes until ctx is done. It logs when refreshing begins to fail, when
// it fails differently and when it works again, and meanwhile signs with the
// keys it has.
func (k *Keys) Run(ctx context.Context) {
	timer := time.NewTimer(k.pause())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			k.report(ctx, k.Refresh(ctx))
			timer.Reset(k.pause())
		}
	}
}

// Refresh is one round of Run: it reads the keys and, when this replica has the
// lease, rotates them.
func (k *Keys) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxReloadInterval)
	defer cancel()
	now := k.now()
	mine, err := k.store.AcquireLease(ctx, leaseName, k.holder, now, now.Add(3*k.policy.ReloadInterval))
	if err != nil {
		return fmt.Errorf("acquiring the lease for signing keys: %w", err)
	}
	if mine {
		err = k.maintain(ctx)
	} else {
		_, err = k.reload(ctx)
	}
	if errors.Is(err, clock.ErrWrong) {
		// Whoever may not rotate must not keep others from it, for as long as its
		// clock is wrong.
		err = errors.Join(err, k.store.ReleaseLease(ctx, leaseName, k.holder))
	}
	if err != nil {
		return fmt.Errorf("refreshing signing keys: %w", err)
	}
	return nil
}

// pause is about the reload interval, so that replicas do not read in step. It
// is never longer: the lead counts on it.
func (k *Keys) pause() time.Duration {
	var b [2]byte
	if _, err := io.ReadFull(k.random, b[:]); err != nil {
		return k.policy.ReloadInterval
	}
	spread := k.policy.ReloadInterval / 4
	return k.policy.ReloadInterval - spread*time.Duration(binary.BigEndian.Uint16(b[:]))/(1<<16)
}

// report logs a change of state, once.
func (k *Keys) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return // shutting down
	case err == nil && k.trouble != nil:
		k.log.InfoContext(ctx, "signing keys are refreshed again")
	case err != nil && (k.trouble == nil || kind(err) != kind(k.trouble)):
		k.log.ErrorContext(ctx, "signing keys cannot be refreshed, going on with those that are loaded", "error", err)
	}
	k.trouble = err
}

func kind(err error) error {
	for _, known := range []error{ErrSecrets, clock.ErrWrong, storage.ErrUnavailable} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// maintain does what Plan says and reads what came of it, until there is nothing
// to do.
func (k *Keys) maintain(ctx context.Context) error {
	for range maxRounds {
		rows, err := k.reload(ctx)
		if err != nil {
			return err
		}
		now := k.now()
		add, remove := Plan(rows, now, k.policy)
		if len(add)+len(remove) == 0 {
			return nil
		}
		if len(rows) > 0 {
			if err := clock.Check(ctx, k.store, now); err != nil {
				return fmt.Errorf("keys are not rotated by this replica: %w", err)
			}
		}
		if err := k.apply(ctx, rows, add, remove, now); err != nil {
			return err
		}
	}
	return errors.New("other replicas change the keys all the time: are their clocks and `signer:` settings the same?")
}

// reload makes the stored keys the current ones, and returns their rows. Keys of
// an algorithm that only a newer version knows are left to it.
func (k *Keys) reload(ctx context.Context) ([]storage.SigningKey, error) {
	rows, err := k.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(row storage.SigningKey) bool {
		_, known := families[row.Algorithm]
		return !known
	})
	if len(rows) == 0 && len(k.loaded().byKID) > 0 {
		// Somebody emptied the table under a running server. Plan makes new keys;
		// until they are here the ones in memory are better than none.
		return nil, nil
	}
	at, err := k.retiringTime(ctx)
	if err != nil {
		return nil, err
	}
	s, err := k.snapshot(rows, at)
	if err != nil {
		return nil, err
	}
	k.current.Store(s)
	return rows, nil
}

// retiringTime is the time by which keys retire: ours, unless it is so wrong that
// keys in use would be.
func (k *Keys) retiringTime(ctx context.Context) (time.Time, error) {
	now := k.now()
	theirs, err := k.store.Ping(ctx)
	if err != nil {
		return now, fmt.Errorf("reading the database's clock: %w", err)
	}
	if now.Sub(theirs).Abs() > clock.MaxError {
		return theirs, nil
	}
	return now, nil
}

func (k *Keys) apply(ctx context.Context, stored []storage.SigningKey, add []Addition, remove []string, now time.Time) error {
	for _, a := range add {
		row, err := generate(a, k.random, k.box, now)
		if err != nil {
			return err
		}
		err = k.store.AddSigningKey(ctx, row)
		if errors.Is(err, storage.ErrConflict) {
			return nil // another replica was first: look again
		}
		if err != nil {
			return fmt.Errorf("adding a key for %s: %w", a.Algorithm, err)
		}
		k.record(ctx, added(stored, row, now))
	}
	for _, kid := range remove {
		done, err := k.store.DeleteSigningKey(ctx, kid)
		if err != nil {
			return fmt.Errorf("deleting key %q: %w", kid, err)
		}
		if done {
			k.record(ctx, deleted(stored, kid))
		}
	}
	return nil
}

func (k *Keys) record(ctx context.Context, events []audit.Event) {
	for _, e := range events {
		k.audit.Write(ctx, e)
	}
}
