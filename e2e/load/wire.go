package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// patience is how long an answer may take before it is an error.
const patience = 30 * time.Second

// wire is one connection of HTTP/1.1 that is kept. It does less than net/http's
// client because the generator takes its time from the same cores as the server.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	body bytes.Buffer
}

func dial(address string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 8<<10)}, nil
}

func (w *wire) close() { _ = w.conn.Close() } // nothing is lost with it

// send sends a whole request and returns the answer. The body is valid until the
// next call.
func (w *wire) send(request []byte) (status int, body []byte, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := w.line()
	if err != nil {
		return 0, nil, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("the answer begins with %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length, err := w.headers()
	if err != nil {
		return 0, nil, err
	}
	w.body.Reset()
	if length >= 0 {
		_, err = io.CopyN(&w.body, w.in, length)
	} else {
		err = w.chunks()
	}
	return status, w.body.Bytes(), err
}

// line is a line without its end.
func (w *wire) line() ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

// headers reads them, and returns the length of the body; -1: it comes in chunks.
func (w *wire) headers() (length int64, err error) {
	length = -1
	for {
		line, err := w.line()
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			return length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, err
			}
		}
	}
}

// chunks reads a body of which the length was not said (RFC 9112 section 7.1).
func (w *wire) chunks() error {
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(line), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(&w.body, w.in, size); err != nil {
			return err
		}
		if end, err := w.line(); err != nil || len(end) > 0 {
			return errors.Join(err, errors.New("a chunk does not end"))
		}
		if size == 0 {
			return nil
		}
	}
}
