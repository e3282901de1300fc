package web

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// Page is one of the page types of this package. Their fields are what is to be
// shown; nothing in them is trusted to be harmless.
type Page interface {
	// template is the name of the template, without ".html".
	template() string
}

// Pages that belong to a client show its name and logo.
type clientPage interface{ client() Client }

// Pages that must not be made of just anything say so; the person gets a 500.
type checkedPage interface{ check() error }

// Pages that submit themselves to somebody else say by which script.
type selfSubmitting interface{ Script() template.JS }

// PageOptions are about the request rather than the page.
type PageOptions struct {
	// FormAction are the validated redirect URIs to which submitting this page
	// may lead in the end; see FormActionSource.
	FormAction []string
	// RequestID is shown on error pages, and logged with a failure.
	RequestID string
	// Locales are the values of ui_locales, most wanted first.
	Locales []string
}

// view is what a template is executed with.
type view struct {
	Lang, Dir string
	Site      look
	Client    clientView
	Page      Page
	RequestID string

	texts  map[string]text
	assets assets
}

// clientView is what is shown of a client: LogoURL is ours, https or empty.
type clientView struct {
	Name    string
	LogoURL string
}

// Page writes the page with its headers. It renders before it writes: should a
// template fail, that is logged, and the person gets a plain 500, never half a
// page.
func (s *Site) Page(w http.ResponseWriter, r *http.Request, status int, p Page, opt PageOptions) {
	var body bytes.Buffer
	policy, err := s.policy(p, opt)
	if err == nil {
		c := s.languages.choose(opt.Locales, r.Header.Get("Accept-Language"))
		err = s.render(&body, c, p, opt.RequestID)
	}
	if err != nil {
		s.logger.LogAttrs(r.Context(), slog.LevelError, "rendering a page failed",
			slog.String("page", p.template()), slog.String("request_id", opt.RequestID), slog.Any("error", err))
		s.Headers(w.Header(), Policy{})
		http.Error(w, "Internal server error. Request "+opt.RequestID, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	s.Headers(h, policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the person has gone: nobody is left to tell
}

// policy collects what the page uses.
func (s *Site) policy(p Page, opt PageOptions) (Policy, error) {
	policy := Policy{Page: true}
	if s.logo != "" {
		policy.Images = append(policy.Images, s.logo)
	}
	if c, ok := p.(clientPage); ok {
		if _, source, ok := s.picture(c.client().LogoURL); ok && source != "" && source != s.logo {
			policy.Images = append(policy.Images, source)
		}
	}
	if c, ok := p.(checkedPage); ok {
		if err := c.check(); err != nil {
			return Policy{}, err
		}
	}
	if l, ok := p.(selfSubmitting); ok {
		policy.Script, policy.LeavesByForm = string(l.Script()), true
		return policy, nil
	}
	for _, address := range opt.FormAction {
		source, ok := FormActionSource(address)
		if !ok {
			return Policy{}, fmt.Errorf("%q cannot be allowed as the target of a form", address)
		}
		policy.FormAction = append(policy.FormAction, source)
	}
	return policy, nil
}

// render executes the page's template in one language.
func (s *Site) render(w io.Writer, c *catalogue, p Page, requestID string) error {
	v := view{
		Lang: c.tag.String(), Dir: c.direction(), Site: s.look, Page: p, RequestID: requestID,
		texts: c.texts, assets: s.assets,
	}
	if cp, ok := p.(clientPage); ok {
		v.Client = s.client(cp.client())
	}
	return s.templates[p.template()].ExecuteTemplate(w, "layout", v)
}

// T returns the text of a key. pairs are the names and values of its
// placeholders. Strings are isolated with <bdi>, so that a name written right to
// left leaves the sentence in order; where a template uses the result in an
// attribute or the title, html/template takes the tags out again.
func (v view) T(key string, pairs ...any) (template.HTML, error) {
	t, ok := v.texts[key]
	if !ok {
		return "", fmt.Errorf("there is no text %q", key)
	}
	var b bytes.Buffer
	for i, literal := range t.literals {
		template.HTMLEscape(&b, []byte(literal))
		if i == len(t.names) {
			break
		}
		value, err := placed(t.names[i], pairs)
		if err != nil {
			return "", fmt.Errorf("text %q: %w", key, err)
		}
		b.WriteString(value)
	}
	return template.HTML(b.String()), nil
}

// placed returns the value of a placeholder, as HTML.
func placed(name string, pairs []any) (string, error) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] != name {
			continue
		}
		switch value := pairs[i+1].(type) {
		case template.HTML: // made by T
			return string(value), nil
		case string:
			return "<bdi>" + template.HTMLEscapeString(value) + "</bdi>", nil
		case int:
			return strconv.Itoa(value), nil
		}
		return "", fmt.Errorf("{%s} is a %T", name, pairs[i+1])
	}
	return "", fmt.Errorf("no value for {%s}", name)
}

// Duration says how long to wait, rounded up: never ask too early.
func (v view) Duration(d time.Duration) (template.HTML, error) {
	if d <= 90*time.Second {
		return v.T("wait.seconds", "n", max(1, int((d+time.Second-1)/time.Second)))
	}
	return v.T("wait.minutes", "n", int((d+time.Minute-1)/time.Minute))
}

// Static returns the address of a static file by its plain name.
func (v view) Static(name string) (string, error) { return v.assets.url(name) }

// Say returns the text of a phrase.
func (v view) Say(p Phrase) (template.HTML, error) { return v.T(p.Key, "value", p.Value) }

// Phrase is a text of the catalogue with at most one value in it.
type Phrase struct {
	Key   string
	Value string
}

var errNoAddress = errors.New("not an absolute http or https address")
