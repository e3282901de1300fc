package telemetry

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/countersign/countersign/storage"
)

// closedSet holds the values a label may take. Each value of a label is a series
// that stays in memory, here and in Prometheus, for as long as the process runs.
type closedSet map[string]bool

func setOf(values ...string) closedSet {
	set := closedSet{}
	for _, v := range values {
		set[v] = true
	}
	return set
}

// other is what everything outside of a closed set is counted as.
const other = "other"

// unmatched is the route of requests that no route took.
const unmatched = "unmatched"

func (s closedSet) fold(value string) string {
	if s[value] {
		return value
	}
	return other
}

var methods = setOf(
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
)

var grantTypes = setOf(
	"authorization_code", "refresh_token", "client_credentials", "password",
	"urn:ietf:params:oauth:grant-type:device_code",
	"urn:ietf:params:oauth:grant-type:token-exchange",
)

var tables = setOf(expiring()...)

func expiring() (names []string) {
	for _, table := range storage.Expiring() {
		names = append(names, string(table))
	}
	return names
}

var results = setOf(
	Success, Failure, Limited, Errored,
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_target", "access_denied", "server_error", "temporarily_unavailable",
	"authorization_pending", "slow_down", "expired_token",
	"login_required", "consent_required", "interaction_required", "account_selection_required",
)

// routeOf is the path of the pattern that took a request. Patterns are ours, so
// they are a closed set by themselves; paths are not.
func routeOf(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	if pattern == "" {
		return unmatched
	}
	return pattern
}

var classes = [...]string{1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}

// class is the class of a status: 2xx.
func class(status int) string {
	if status < 100 || status > 599 {
		return other
	}
	return classes[status/100]
}

// storeResult names how a call of the storage ended.
func storeResult(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, storage.ErrNotFound):
		return "not_found"
	case errors.Is(err, storage.ErrConflict):
		return "conflict"
	case errors.Is(err, storage.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	}
	return Errored
}
