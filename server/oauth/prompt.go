package oauth

import (
	"slices"
	"strconv"
	"time"
)

// Values of prompt (OpenID Connect Core 1.0 section 3.1.2.1).
const (
	PromptNone          = "none"
	PromptLogin         = "login"
	PromptConsent       = "consent"
	PromptSelectAccount = "select_account"
)

var promptValues = []string{PromptNone, PromptLogin, PromptConsent, PromptSelectAccount}

func parsePrompt(prompt string) ([]string, *Error) {
	values := words(prompt)
	for _, v := range values {
		if !slices.Contains(promptValues, v) {
			// Initiating User Registration 1.0 section 4: a value that discovery
			// does not declare is invalid_request.
			return nil, refuse(InvalidRequest, "prompt "+printable(v)+" is not supported")
		}
	}
	if len(values) > 1 && slices.Contains(values, PromptNone) {
		return nil, refuse(InvalidRequest, "prompt none cannot be combined with other values")
	}
	return values, nil
}

// SeenSince is since when the upstream must have seen a person who signs in at now:
// its own memory of them may be older than the request allows (OpenID Connect Core 1.0
// section 3.1.2.1, prompt and max_age). Zero: any memory will do.
func (r AuthorizeRequest) SeenSince(now time.Time) time.Time {
	switch {
	case r.HasPrompt(PromptLogin):
		return now
	case r.MaxAge != nil:
		return now.Add(-*r.MaxAge)
	}
	return time.Time{}
}

// parseMaxAge returns nil when max_age was not given. It is a count of seconds;
// 0 asks for a fresh login, like prompt=login.
func parseMaxAge(maxAge string) (*time.Duration, *Error) {
	if maxAge == "" {
		return nil, nil
	}
	const century = 100 * 365 * 24 * 60 * 60
	n, err := strconv.ParseUint(maxAge, 10, 63)
	if err != nil {
		return nil, refuse(InvalidRequest, "max_age must be a whole number of seconds")
	}
	d := time.Duration(min(n, century)) * time.Second
	return &d, nil
}
