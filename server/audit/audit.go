// Package audit writes down what happened to people's logins, for whoever has to
// answer later who did what: one JSON line per fact, on a stream of its own.
//
// Every record has `time` and `event`, a stable dotted name. The events are a
// closed set of typed structs; each says beside its type what its record holds.
// Records of facts that a request brought about also have `address`, `user_agent`
// and `request_id`, the last as in the ordinary log. The names of fields:
//
//	client_id              the relying party
//	connector_id, user_id  the person: the connector and its id of them
//	sub                    the person as relying parties know them
//	account                who was typed in at a sign-in, as a keyed hash
//	sid                    the browser's session, the claim `sid`
//	grant_id               the login: one person at one client on one device
//	generation             of the refresh token: 0 came with the code
//	held_by_address, held_by_user_agent, held_since
//	                       who had the newest token before, and since when
//	by, reason             who ended something, and why
//	kid, alg               a signing key
//
// A field without a value is left out.
//
// It refuses to hold anything that could be used: events have no field for a
// token, code, secret, password or cookie, and none for the user name that was
// typed, because people type passwords into that field. What was typed is there as
// `account`, by which failures at one account can be found, and found to be of the
// same account as a success; who can read the records cannot test guesses on it.
//
// A record is written after its fact was committed, by whoever's transition the
// store says it was; of racing requests and replicas that is one. A process that
// dies in between, or a database that commits and is cut off before it can say so,
// leaves a fact without a record, never a record without a fact.
//
// Threat: strangers choose user agents, addresses behind a proxy and parts of
// requests: none of it can begin a line, move a terminal's cursor, or be long. A
// full disk must not keep people out: then requests go on, the log says it once,
// and a metric counts what is missing.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/server/request"
)

// Event is a fact. The types of this package are all there are.
type Event interface {
	// name is stable: people's queries and alarms know it.
	name() string
	// describe adds the fields of the event, and nothing secret.
	describe(f *fields)
}

// Results of a record, for the count.
const (
	Written = "written"
	Failed  = "failed"
)

// Config is what New needs. All fields are required.
type Config struct {
	// Output takes one line per call of Write, one call at a time.
	Output io.Writer
	// Count is told Written or Failed of each record.
	Count func(result string)
	// Logger is told when records begin to be lost, and when they are written
	// again.
	Logger *slog.Logger
	Now    func() time.Time
}

// Log writes records. It is safe for concurrent use. A nil *Log is an audit that
// is turned off: it writes nothing.
type Log struct {
	cfg Config
	one sync.Mutex
	// trouble is why the last record was lost; nil: it was not.
	trouble atomic.Pointer[error]
	// lost counts the records since then.
	lost atomic.Int64
}

// New checks the configuration.
func New(cfg Config) (*Log, error) {
	if cfg.Output == nil || cfg.Count == nil || cfg.Logger == nil || cfg.Now == nil {
		return nil, errors.New("audit: every field of Config is required")
	}
	return &Log{cfg: cfg}, nil
}

// Write writes the record of a fact that has happened. ctx tells which request it
// belongs to, and may be over. It returns when the record is with the operating
// system, or lost: the fact stands, so there is nothing to tell the caller. Nothing
// is queued: an output that blocks makes callers wait.
func (l *Log) Write(ctx context.Context, e Event) {
	if l == nil {
		return
	}
	f := newFields(l.cfg.Now().UTC(), e.name())
	defer f.release()
	e.describe(f)
	f.text("address", request.AddressText(ctx))
	f.text("user_agent", request.Agent(ctx))
	f.text("request_id", request.ID(ctx))
	if err := l.write(f.end()); err != nil {
		l.failed(ctx, err)
		return
	}
	l.cfg.Count(Written)
	if l.trouble.Load() != nil {
		l.recovered(ctx)
	}
}

// write gives one line at a time to the output.
func (l *Log) write(line []byte) error {
	l.one.Lock()
	defer l.one.Unlock()
	_, err := l.cfg.Output.Write(line)
	return err
}

// failed says so at the first record that is lost.
func (l *Log) failed(ctx context.Context, err error) {
	l.cfg.Count(Failed)
	l.lost.Add(1)
	if l.trouble.Swap(&err) == nil {
		l.cfg.Logger.ErrorContext(ctx, "audit records fail to be written", slog.Any("error", err))
	}
}

// recovered says so at the first record that is not.
func (l *Log) recovered(ctx context.Context) {
	if l.trouble.Swap(nil) != nil {
		l.cfg.Logger.InfoContext(ctx, "audit records are written again", slog.Int64("lost", l.lost.Swap(0)))
	}
}

// Check returns why the last record could not be written, nil if it was.
func (l *Log) Check() error {
	if l == nil {
		return nil
	}
	if err := l.trouble.Load(); err != nil {
		return fmt.Errorf("records fail to be written: %w", *err)
	}
	return nil
}
