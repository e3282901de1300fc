package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	gogithub "github.com/google/go-github/v89/github"
	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/connector"
)

const (
	// perPage is the most that GitHub gives.
	perPage = 100
	// maxPages bounds a list, to 3,000 entries.
	maxPages = 30
	// maxAtOnce bounds how many requests one person makes at the same time.
	maxAtOnce = 4
)

var (
	// errUnauthorized: the token is not good any more (401).
	errUnauthorized = fmt.Errorf("%w: GitHub does not take their token any more", connector.ErrGone)
	// errNotThere: GitHub says that what was asked for does not exist, as far as this
	// token is concerned (404).
	errNotThere = errors.New("not there")
	// errNotAllowed: GitHub does not say, to this token or to us (403). It is not a rate
	// limit.
	errNotAllowed = errors.New("not allowed")
)

// reader reads the API in the name of one person.
type reader struct {
	api   *gogithub.Client
	token string
	slots chan struct{}
}

func (c *Connector) reader(token string) *reader {
	return &reader{api: c.api, token: token, slots: make(chan struct{}, maxAtOnce)}
}

// get reads a document. Its error is or wraps errUnauthorized, errNotThere or
// errNotAllowed together with ErrUpstream, connector.ErrGone or ErrUpstream.
func (r *reader) get(ctx context.Context, path string, into any) (*gogithub.Response, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: asking for %s: %w", connector.ErrUpstream, path, ctx.Err())
	}
	request, err := r.api.NewRequest(ctx, http.MethodGet, path, nil, func(q *http.Request) {
		q.Header.Set("Authorization", "Bearer "+r.token)
	})
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	var raw json.RawMessage
	resp, err := r.api.Do(request, &raw)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return nil, failed(path, err)
	}
	return resp, nil
}

// failed says what an answer means that is none.
func failed(path string, err error) error {
	e, ok := errors.AsType[*gogithub.ErrorResponse](err)
	if !ok || e.Response == nil {
		return fmt.Errorf("%w: asking for %s: %w", connector.ErrUpstream, path, err)
	}
	said := fmt.Sprintf("GET %s: status %d, %.300q", path, e.Response.StatusCode, e.Message)
	switch status := e.Response.StatusCode; {
	case e.Message == "": // not GitHub, but something before it: no verdict
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", errUnauthorized, said)
	case status == http.StatusForbidden && strings.Contains(e.Message, "account was suspended"):
		return fmt.Errorf("%w: %s", connector.ErrGone, said)
	case status == http.StatusForbidden:
		return fmt.Errorf("%w: %w: %s", connector.ErrUpstream, errNotAllowed, said)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w: %s", connector.ErrUpstream, errNotThere, said)
	}
	return fmt.Errorf("%w: %s", connector.ErrUpstream, said)
}

// list reads all pages of a list, in order.
func (r *reader) list(ctx context.Context, path string) ([]json.RawMessage, error) {
	first, resp, err := r.page(ctx, path, 1)
	if err != nil {
		return nil, err
	}
	if resp.LastPage > maxPages {
		return nil, tooMany(path)
	}
	next := resp.NextPage
	pages := make([][]json.RawMessage, max(1, resp.LastPage))
	pages[0] = first
	group, groupCtx := errgroup.WithContext(ctx)
	for i := 1; i < len(pages); i++ {
		group.Go(func() (err error) {
			var resp *gogithub.Response
			if pages[i], resp, err = r.page(groupCtx, path, i+1); err == nil && i == len(pages)-1 {
				next = resp.NextPage
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// What was not announced, or has come meanwhile.
	for next != 0 {
		if len(pages) >= maxPages {
			return nil, tooMany(path)
		}
		page, resp, err := r.page(ctx, path, next)
		if err != nil {
			return nil, err
		}
		pages, next = append(pages, page), resp.NextPage
	}
	var all []json.RawMessage
	for _, page := range pages {
		all = append(all, page...)
	}
	return all, nil
}

func (r *reader) page(ctx context.Context, path string, n int) (page []json.RawMessage, resp *gogithub.Response, err error) {
	resp, err = r.get(ctx, fmt.Sprintf("%s?per_page=%d&page=%d", path, perPage, n), &page)
	return page, resp, err
}

func tooMany(path string) error {
	return fmt.Errorf("%w: %s has more than %d pages", connector.ErrUpstream, path, maxPages)
}

// decode reads the entries of a list, as the library's type and as what was said.
func decode[T any](list []json.RawMessage) (typed []T, claims []any, err error) {
	typed, claims = make([]T, len(list)), make([]any, len(list))
	for i, raw := range list {
		if err := errors.Join(json.Unmarshal(raw, &typed[i]), json.Unmarshal(raw, &claims[i])); err != nil {
			return nil, nil, fmt.Errorf("%w: reading a list: %w", connector.ErrUpstream, err)
		}
	}
	return typed, claims, nil
}
