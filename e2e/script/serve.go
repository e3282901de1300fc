package script

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
)

var (
	placeholder = regexp.MustCompile(`\$\{(\w+)\}`)
	issuerLine  = regexp.MustCompile(`(?m)^issuer: (\S+)$`)
)

// fill puts variables into files. Only ${NAME} is replaced: hashes of passwords
// are full of other dollar signs.
func (w *world) fill(args []string) error {
	for _, name := range args {
		data, err := os.ReadFile(w.path(name))
		if err != nil {
			return err
		}
		var missing error
		text := placeholder.ReplaceAllStringFunc(string(data), func(p string) string {
			value := w.ts.Getenv(p[2 : len(p)-1])
			if value == "" {
				missing = fmt.Errorf("%s: %s is not set", name, p)
			}
			return value
		})
		if missing != nil {
			return missing
		}
		if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) serve(args []string) error {
	set, args := options(args)
	if len(args) != 1 {
		return usageError{}
	}
	config, name := args[0], one(set, "-name", "server")
	if err := w.fill(args); err != nil {
		return err
	}
	issuer := issuerLine.FindStringSubmatch(w.text(config))
	if issuer == nil {
		return fmt.Errorf("%s has no issuer", config)
	}
	command := []string{}
	for _, e := range set["-env"] {
		command = append(command, "-env", e)
	}
	if err := w.start(append(command, name, "countersign", "serve", config)); err != nil {
		return err
	}
	// Replicas of one issuer listen elsewhere: each says where.
	address := one(set, "-at", issuer[1]) + "/readyz"
	return w.awaitStatus(name, http.StatusOK, address)
}

// awaitStatus waits for an answer, of the process if one is named.
func (w *world) awaitStatus(name string, status int, address string) error {
	var gone error
	err := poll(func() error {
		if name != "" {
			if gone = w.alive(name); gone != nil {
				return nil
			}
		}
		resp, err := w.client.Get(address)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status {
			return fmt.Errorf("%s answers %d:\n%s", address, resp.StatusCode, body)
		}
		fmt.Fprint(w.ts.Stdout(), string(body))
		return nil
	})
	return errors.Join(err, gone)
}

func (w *world) await(args []string) error {
	switch {
	case len(args) >= 3 && args[0] == "log":
		return w.awaitLog(args[1], args[2], args[3:])
	case len(args) == 3 && args[0] == "status":
		status, err := strconv.Atoi(args[1])
		if err != nil {
			return usageError{}
		}
		return w.awaitStatus("", status, args[2])
	case len(args) == 2 && args[0] == "closed":
		return poll(func() error {
			resp, err := w.client.Get(args[1])
			if err != nil {
				return nil
			}
			resp.Body.Close()
			return fmt.Errorf("%s answers %d", args[1], resp.StatusCode)
		})
	}
	return usageError{}
}

func (w *world) awaitLog(name, pattern string, count []string) error {
	want := 1
	if len(count) == 1 {
		var err error
		if want, err = strconv.Atoi(count[0]); err != nil {
			return usageError{}
		}
	}
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	return poll(func() error {
		out, errs := w.output(name)
		if got := len(re.FindAllString(out+errs, -1)); got < want {
			return fmt.Errorf("%q is %d times in the output of %s, want %d:\n%s%s", pattern, got, name, want, out, errs)
		}
		return nil
	})
}

var requestID = regexp.MustCompile(`(?m)^X-Request-Id: (\S+)$`)

// sameRequest follows the id of a request from the answer to the log.
func (w *world) sameRequest(args []string) error {
	if len(args) != 1 {
		return usageError{}
	}
	found := requestID.FindStringSubmatch(w.ts.ReadFile("stderr"))
	if found == nil {
		return errors.New("the answer has no X-Request-Id")
	}
	if page := w.ts.ReadFile("stdout"); !strings.Contains(page, found[1]) {
		return fmt.Errorf("the page does not show %s:\n%s", found[1], page)
	}
	lines := 0
	for line := range strings.Lines(w.text(args[0])) {
		if strings.Contains(line, found[1]) {
			lines++
		}
	}
	if lines != 1 {
		return fmt.Errorf("%s is in %d lines of the log, want 1", found[1], lines)
	}
	return nil
}

// jsonLines holds a log to what its readers expect: a line is an object, and no
// name stands twice in it, since most readers keep only one of the two.
func (w *world) jsonLines(args []string) error {
	if len(args) != 1 {
		return usageError{}
	}
	lines := strings.Split(strings.TrimSuffix(w.text(args[0]), "\n"), "\n")
	for i, line := range lines {
		if err := unambiguous(json.NewDecoder(strings.NewReader(line))); err != nil {
			return fmt.Errorf("%s:%d: %w:\n%s", args[0], i+1, err, line)
		}
	}
	return nil
}

// unambiguous reads one JSON object.
func unambiguous(d *json.Decoder) error {
	type object struct {
		names map[string]bool // nil in an array
		value bool            // the next token is a value
	}
	var stack []*object
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return errors.New("it is no object")
		}
		if err != nil {
			return err
		}
		top := func() *object { return stack[len(stack)-1] }
		switch {
		case token == json.Delim('{'):
			stack = append(stack, &object{names: map[string]bool{}})
			continue
		case token == json.Delim('['):
			stack = append(stack, &object{})
			continue
		case token == json.Delim('}'), token == json.Delim(']'):
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				if d.More() {
					return errors.New("more than one object")
				}
				return nil
			}
		case len(stack) == 0:
			return errors.New("it is no object")
		case top().names != nil && !top().value:
			name := token.(string)
			if top().names[name] {
				return fmt.Errorf("%q stands twice", name)
			}
			top().names[name], top().value = true, true
			continue
		}
		top().value = false
	}
}
