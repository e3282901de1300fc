package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// hot is a statement that is run with every refresh. The driver would box its
// arguments and plan how to encode each, which was every thirteenth allocation of a
// refresh.
type hot struct {
	// name is what it is prepared under, where the pool may prepare statements.
	name, sql string
	// types are those of its parameters (pg_type.oid), in order.
	types []uint32
}

// newHot names a statement after what it says: behind a pooler, another release may
// have prepared another one on the same connection.
func newHot(name, sql string, types ...uint32) *hot {
	digest := sha256.Sum256([]byte(sql))
	return &hot{name + "_" + hex.EncodeToString(digest[:8]), sql, types}
}

// binaryResult: all values come in the binary format.
var binaryResult = []int16{pgx.BinaryFormatCode}

// row runs the statement, and reads its first row if it has one. It says whether.
func (s *Store) row(ctx context.Context, conn *pgx.Conn, h *hot, p *parameters, read func(*wire) error) (found bool, err error) {
	if s.tracer != nil {
		ctx = s.tracer.TraceQueryStart(ctx, conn, pgx.TraceQueryStartData{SQL: h.sql})
		defer func() { s.tracer.TraceQueryEnd(ctx, conn, pgx.TraceQueryEndData{Err: err}) }()
	}
	p.put()
	if !s.prepares {
		result := conn.PgConn().ExecParams(ctx, h.sql, p.values, h.types, p.formats, binaryResult)
		return first(result, read)
	}
	for again := true; ; again = false {
		prepared, err := conn.Prepare(ctx, h.name, h.sql)
		if err != nil {
			return false, err
		}
		found, err := first(conn.PgConn().ExecStatement(ctx, prepared, p.values, p.formats, binaryResult), read)
		if !again || !isStale(err) {
			return found, err
		}
		// Nothing was done. It is prepared anew, once.
		if err := conn.Deallocate(ctx, h.name); err != nil {
			return false, err
		}
	}
}

// first reads the first row of a result, and ends it.
func first(result *pgconn.ResultReader, read func(*wire) error) (found bool, err error) {
	if result.NextRow() {
		found, err = true, read(newWire(result.Values(), result.FieldDescriptions()))
	}
	if _, failed := result.Close(); failed != nil {
		return false, failed
	}
	return found, err
}

// isStale reports that a prepared statement is none any more: a migration changed
// what it returns, or somebody between us and the server threw it away. It was not
// run.
func isStale(err error) bool {
	switch sqlState(err) {
	case featureNotSupported, invalidStatementName:
		return true
	}
	return false
}

// parameters are values as PostgreSQL reads them.
type parameters struct {
	memory  []byte
	ends    []int
	formats []int16
	values  [][]byte
}

// spare keeps their memory.
var spare = sync.Pool{New: func() any { return new(parameters) }}

// newParameters returns none. They are given back with release.
func newParameters() *parameters {
	p := spare.Get().(*parameters)
	p.memory, p.ends, p.formats, p.values = p.memory[:0], p.ends[:0], p.formats[:0], p.values[:0]
	return p
}

func (p *parameters) release() { spare.Put(p) }

func (p *parameters) end(format int16) {
	p.ends, p.formats = append(p.ends, len(p.memory)), append(p.formats, format)
}

// text adds a text, or any value in PostgreSQL's notation.
func (p *parameters) text(s string) {
	p.memory = append(p.memory, s...)
	p.end(pgx.TextFormatCode)
}

// bytes adds a value of that many bytes: a uuid.
func (p *parameters) bytes(b []byte) {
	p.memory = append(p.memory, b...)
	p.end(pgx.BinaryFormatCode)
}

// integer adds an int8.
func (p *parameters) integer(n int64) {
	p.memory = binary.BigEndian.AppendUint64(p.memory, uint64(n))
	p.end(pgx.BinaryFormatCode)
}

// instant adds a timestamptz.
func (p *parameters) instant(t time.Time) {
	p.integer((t.Unix()-epoch.Unix())*1e6 + int64(t.Nanosecond())/1e3)
}

// put makes values of what was added.
func (p *parameters) put() {
	p.values = p.values[:0]
	begin := 0
	for _, end := range p.ends {
		p.values = append(p.values, p.memory[begin:end:end])
		begin = end
	}
}
