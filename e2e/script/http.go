package script

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answerWithin is how long an answer may take. It is no measurement: what hangs
// is to fail here and not at the end of the test run.
const answerWithin = 20 * time.Second

func (w *world) http(args []string) error {
	set, args := options(args)
	if len(args) != 2 {
		return usageError{}
	}
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return usageError{}
	}
	r, err := w.newRequest(set, args[1])
	if err != nil {
		return err
	}
	client := *w.client
	if name := one(set, "-as", ""); name != "" {
		client.Jar = w.person(name).Jar()
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	fmt.Fprint(w.ts.Stdout(), string(body))
	var header strings.Builder
	_ = resp.Header.Write(&header) // a Builder takes everything
	fmt.Fprint(w.ts.Stderr(), strings.ReplaceAll(header.String(), "\r", ""))
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %d, want %d", r.Method, args[1], resp.StatusCode, status)
	}
	return nil
}

func (w *world) newRequest(set map[string][]string, address string) (*http.Request, error) {
	repeat, err := strconv.Atoi(one(set, "-repeat", "1"))
	if err != nil {
		return nil, usageError{}
	}
	method, body := http.MethodGet, io.Reader(nil)
	if len(set["-d"]) > 0 {
		method, body = http.MethodPost, strings.NewReader(strings.Repeat(one(set, "-d", ""), repeat))
	}
	r, err := http.NewRequestWithContext(w.t.Context(), one(set, "-X", method), address, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range set["-H"] {
		name, value, ok := strings.Cut(h, ": ")
		if !ok {
			return nil, usageError{}
		}
		if len(set["-d"]) == 0 {
			value = strings.Repeat(value, repeat)
		}
		r.Header.Add(name, value)
	}
	if file := one(set, "-bearer", ""); file != "" {
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(w.ts.ReadFile(file)))
	}
	return r, nil
}

// heldRequest is a request that has not been sent to its end.
type heldRequest struct {
	conn net.Conn
	last string
}

func (w *world) request(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "begin":
		return w.beginRequest(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "end":
		return w.endRequest(args[1], args[2])
	}
	return usageError{}
}

// beginRequest sends a POST but for its last byte.
func (w *world) beginRequest(name, address, body string) error {
	u, err := url.Parse(address)
	if err != nil || body == "" {
		return usageError{}
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return err
	}
	w.t.Cleanup(func() { conn.Close() })
	w.held[name] = &heldRequest{conn, body[len(body)-1:]}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		u.RequestURI(), u.Host, len(body), body[:len(body)-1])
	return err
}

// endRequest sends the rest and reads the answer; "cut" as the status means that
// there is none.
func (w *world) endRequest(name, status string) error {
	held := w.held[name]
	if held == nil {
		return fmt.Errorf("no request %s was begun", name)
	}
	_, sent := io.WriteString(held.conn, held.last)
	if err := held.conn.SetReadDeadline(time.Now().Add(answerWithin)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(held.conn), nil)
	if err = errors.Join(sent, err); err != nil {
		if status == "cut" {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	if got := strconv.Itoa(resp.StatusCode); got != status {
		return fmt.Errorf("%s, want %s", got, status)
	}
	_, err = io.Copy(w.ts.Stdout(), resp.Body)
	return err
}
