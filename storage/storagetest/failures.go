package storagetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/storage"
)

var failureTests = map[string]func(*testing.T, Database){
	"failures count and expire": func(t *testing.T, open Database) {
		s := open(t)
		keys := []string{"account", "address"}
		must(t, s.RecordLoginFailure(t.Context(), keys, epoch, time.Minute))
		later := epoch.Add(time.Minute - tick)
		must(t, s.RecordLoginFailure(t.Context(), keys[:1], later, time.Hour))
		found, err := s.LoginFailures(t.Context(), append(keys, "unknown"), later)
		must(t, err)
		equal(t, found, map[string]storage.LoginFailure{
			"account": {Count: 2, LastAt: later, ExpiresAt: later.Add(time.Hour)},
			"address": {Count: 1, LastAt: epoch, ExpiresAt: epoch.Add(time.Minute)},
		})
		found, err = s.LoginFailures(t.Context(), keys, later.Add(time.Hour))
		must(t, err)
		equal(t, found, map[string]storage.LoginFailure{})
	},
	"an expired count starts again at one": func(t *testing.T, open Database) {
		s := open(t)
		for range 3 {
			must(t, s.RecordLoginFailure(t.Context(), []string{"a"}, epoch, time.Minute))
		}
		at := epoch.Add(time.Minute)
		must(t, s.RecordLoginFailure(t.Context(), []string{"a"}, at, time.Minute))
		found, err := s.LoginFailures(t.Context(), []string{"a"}, at)
		must(t, err)
		equal(t, found["a"], storage.LoginFailure{Count: 1, LastAt: at, ExpiresAt: at.Add(time.Minute)})
	},
	"a key named twice counts once, none is no error": func(t *testing.T, open Database) {
		s := open(t)
		must(t, s.RecordLoginFailure(t.Context(), nil, epoch, time.Minute))
		must(t, s.RecordLoginFailure(t.Context(), []string{"a", "b", "a"}, epoch, time.Minute))
		found, err := s.LoginFailures(t.Context(), []string{"a", "a", "b"}, epoch)
		must(t, err)
		equal(t, found["a"].Count, 1)
		equal(t, found["b"].Count, 1)
		found, err = s.LoginFailures(t.Context(), nil, epoch)
		must(t, err)
		equal(t, found, map[string]storage.LoginFailure{})
	},
	"any key is counted, and none is taken for another": func(t *testing.T, open Database) {
		s := open(t)
		keys := []string{"", "\x00", "a", "a\x00", "a\xff", "a\xfe", "a\uFFFD", "A", "a ", strings.Repeat("a", 1<<20)}
		for i := range 1000 {
			keys = append(keys, fmt.Sprint("many ", i))
		}
		must(t, s.RecordLoginFailure(t.Context(), keys, epoch, time.Minute))
		must(t, s.RecordLoginFailure(t.Context(), keys[1:2], epoch, time.Minute))
		found, err := s.LoginFailures(t.Context(), keys, epoch)
		must(t, err)
		equal(t, len(found), len(keys))
		for i, key := range keys {
			expected := 1
			if i == 1 {
				expected = 2
			}
			equal(t, found[key].Count, expected)
		}
	},
}
