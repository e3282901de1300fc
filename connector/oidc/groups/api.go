package groups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/countersign/countersign/connector"
)

// api asks a JSON API, and not before it wants to be asked again. Its limits are
// those of all people together: both APIs count by our application.
type api struct {
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	limited time.Time // until when it does not want to be asked
}

// maxMessage is how much is read of an answer that is an error, in bytes.
const maxMessage = 64 << 10

// statusError is an answer other than 200.
type statusError struct {
	path    string
	status  int
	reason  string // of the error, by the API's own list
	message string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d, %.100q: %.300q", e.path, e.status, e.reason, e.message)
}

// answered reports whether an error is an answer of that status.
func answered(err error, status int) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.status == status
}

// get reads a document. Its error wraps connector.ErrUpstream, and a *statusError if
// it was answered.
func (a *api) get(ctx context.Context, address *url.URL, token string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return fmt.Errorf("asking for groups: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return a.do(r, into)
}

func (a *api) do(r *http.Request, into any) error {
	if until := a.until(); !until.IsZero() {
		return fmt.Errorf("%w: %s does not want to be asked before %s", connector.ErrUpstream, r.URL.Host, until.UTC().Format(time.RFC3339))
	}
	r.Header.Set("Accept", "application/json")
	resp, err := a.client.Do(r)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it would name the person, in the address
	}
	if err != nil {
		return fmt.Errorf("%w: asking %s%s: %w", connector.ErrUpstream, r.URL.Host, r.URL.Path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %w", connector.ErrUpstream, a.refused(resp))
	}
	d := json.NewDecoder(resp.Body)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: reading the answer of %s%s: %w", connector.ErrUpstream, r.URL.Host, r.URL.Path, err)
	}
	if d.More() {
		return fmt.Errorf("%w: more than one document in the answer of %s%s", connector.ErrUpstream, r.URL.Host, r.URL.Path)
	}
	return nil
}

// until is when it may be asked again; zero: now.
func (a *api) until() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Before(a.limited) {
		return a.limited
	}
	return time.Time{}
}

// refused reads what an error says of itself, and notes if it is a limit.
func (a *api) refused(resp *http.Response) *statusError {
	e := &statusError{path: resp.Request.URL.Host + resp.Request.URL.Path, status: resp.StatusCode}
	// Half a message is still a message.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	e.reason, e.message = explained(text)
	if wait, limited := patience(e, resp.Header.Get("Retry-After"), a.now()); limited {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.limited = a.now().Add(wait)
	}
	return e
}

// explained reads the error of Google's and Microsoft's APIs:
// {"error": {"code", "message", "errors": [{"reason"}]}}, where only Microsoft's code
// is a word; and that of a token endpoint (RFC 6749 section 5.2).
func explained(text []byte) (reason, message string) {
	var document struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(text, &document) != nil {
		return "", "no JSON"
	}
	if json.Unmarshal(document.Error, &reason) == nil {
		return reason, document.Description
	}
	var e struct {
		Code    any    `json:"code"`
		Message string `json:"message"`
		Errors  []struct {
			Reason string `json:"reason"`
		} `json:"errors"`
	}
	if json.Unmarshal(document.Error, &e) != nil {
		return "", "no JSON of an error"
	}
	reason, _ = e.Code.(string)
	if len(e.Errors) > 0 {
		reason = e.Errors[0].Reason
	}
	return reason, e.Message
}

const (
	// leastPatience is for a limit without a time.
	leastPatience = 5 * time.Second
	// mostPatience bounds what an answer can make us wait.
	mostPatience = 5 * time.Minute
)

// patience reads how long nothing is to be asked. Google answers 403 where others
// answer 429 (https://developers.google.com/workspace/admin/directory/v1/limits).
func patience(e *statusError, retryAfter string, now time.Time) (time.Duration, bool) {
	limits := []string{"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"}
	limited := e.status == http.StatusTooManyRequests || e.status == http.StatusForbidden && slices.Contains(limits, e.reason)
	wait := leastPatience
	if seconds, err := strconv.Atoi(retryAfter); err == nil && seconds >= 0 {
		wait = time.Duration(min(seconds, int(mostPatience/time.Second))) * time.Second
	} else if at, err := http.ParseTime(retryAfter); err == nil {
		wait = at.Sub(now)
	} else if !limited {
		return 0, false
	}
	limited = limited || e.status == http.StatusServiceUnavailable
	return min(max(wait, 0), mostPatience), limited
}
