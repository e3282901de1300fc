// Package person is somebody who signs in, for tests: it keeps cookies, follows
// redirects and fills in forms, as a browser without scripts does.
//
// It refuses to be clever: it submits what the page holds, and what it is told.
package person

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Person is one browser: its cookies live as long as it does.
type Person struct {
	// Leave ends the following of redirects at addresses that begin so: those of
	// the relying party.
	Leave string
	// Header is sent with every request.
	Header http.Header

	http *http.Client
}

// New makes a browser without cookies. transport may be nil.
func New(leave string, transport http.RoundTripper) *Person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // cannot fail without options
	}
	return &Person{Leave: leave, http: &http.Client{
		Jar:           jar,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Cookies are what the browser would send to an address.
func (p *Person) Cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return p.http.Jar.Cookies(u)
}

// Jar is where the browser keeps its cookies, for requests past its pages.
func (p *Person) Jar() http.CookieJar { return p.http.Jar }

// SetCookies puts cookies into the browser, as an attacker with a hand on the
// wire might.
func (p *Person) SetCookies(address string, cookies []*http.Cookie) {
	if u, err := url.Parse(address); err == nil {
		p.http.Jar.SetCookies(u, cookies)
	}
}

// Page is where the person is.
type Page struct {
	Status int
	// URL is the address of the page, or, when Left, of the relying party that
	// the person was sent to and that was not asked.
	URL    *url.URL
	Left   bool
	Header http.Header
	Body   string
	Forms  []Form
	// Hops are the addresses of the redirects on the way.
	Hops []string
}

// Form is a form of a page.
type Form struct {
	Action *url.URL
	Method string
	Fields url.Values
}

// Get opens an address.
func (p *Person) Get(ctx context.Context, address string) (*Page, error) {
	return p.Send(ctx, http.MethodGet, address, nil)
}

// Submit sends a form with some of its fields set.
func (p *Person) Submit(ctx context.Context, f Form, values url.Values) (*Page, error) {
	fields := url.Values{}
	for name, v := range f.Fields {
		fields[name] = v
	}
	for name, v := range values {
		fields[name] = v
	}
	return p.Send(ctx, f.Method, f.Action.String(), fields)
}

// Send makes a request and follows where it leads: redirects, and pages that
// refresh themselves to elsewhere.
func (p *Person) Send(ctx context.Context, method, address string, form url.Values) (*Page, error) {
	var hops []string
	for range 20 {
		page, next, err := p.once(ctx, method, address, form)
		if err != nil {
			return nil, err
		}
		page.Hops = hops
		if next == "" {
			return page, nil
		}
		hops = append(hops, next)
		if p.leaves(next) {
			page.URL, err = url.Parse(next)
			page.Left = true
			return page, err
		}
		method, address, form = http.MethodGet, next, nil
	}
	return nil, fmt.Errorf("too many redirects, at last to %s", address)
}

func (p *Person) leaves(address string) bool {
	return p.Leave != "" && strings.HasPrefix(address, p.Leave)
}

// once makes one request. next is where the answer leads, if anywhere.
func (p *Person) once(ctx context.Context, method, address string, form url.Values) (page *Page, next string, err error) {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else if form != nil {
		address += "?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, "", err
	}
	for name, values := range p.Header {
		req.Header[name] = values
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, "", err
	}
	page = &Page{Status: resp.StatusCode, URL: req.URL, Header: resp.Header, Body: string(text)}
	if location := resp.Header.Get("Location"); location != "" {
		u, err := req.URL.Parse(location)
		if err != nil {
			return nil, "", err
		}
		return page, u.String(), nil
	}
	return page, page.read(), nil
}

// read finds the forms of a page, and where it refreshes itself to.
func (p *Page) read() (refresh string) {
	z := html.NewTokenizer(strings.NewReader(p.Body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return refresh
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			a := attributes(t)
			switch t.Data {
			case "form":
				p.openForm(a)
			case "input":
				p.addField(a)
			case "meta":
				if strings.EqualFold(a["http-equiv"], "refresh") {
					_, refresh, _ = strings.Cut(a["content"], "url=")
				}
			}
		}
	}
}

func (p *Page) openForm(a map[string]string) {
	action, err := p.URL.Parse(a["action"])
	if err != nil {
		return
	}
	method := http.MethodGet
	if strings.EqualFold(a["method"], "post") {
		method = http.MethodPost
	}
	p.Forms = append(p.Forms, Form{Action: action, Method: method, Fields: url.Values{}})
}

// addField keeps what a browser would send if nobody touched the field.
func (p *Page) addField(a map[string]string) {
	if len(p.Forms) == 0 || a["name"] == "" {
		return
	}
	_, checked := a["checked"]
	if a["type"] == "checkbox" && !checked {
		return
	}
	p.Forms[len(p.Forms)-1].Fields.Set(a["name"], a["value"])
}

func attributes(t html.Token) map[string]string {
	m := make(map[string]string, len(t.Attr))
	for _, a := range t.Attr {
		m[a.Key] = a.Val
	}
	return m
}

// Links are the addresses that the page's links lead to.
func (p *Page) Links() []string {
	var links []string
	z := html.NewTokenizer(strings.NewReader(p.Body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return links
		case html.StartTagToken:
			if t := z.Token(); t.Data == "a" {
				if u, err := p.URL.Parse(attributes(t)["href"]); err == nil {
					links = append(links, u.String())
				}
			}
		}
	}
}

// HTTPTransport replaces how requests travel.
func (p *Person) HTTPTransport(t http.RoundTripper) { p.http.Transport = t }
