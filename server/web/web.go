// Package web is every page a person sees, the one stylesheet, and the headers
// that go with them.
//
// Pages are typed values (Password, Consent, Error, …) that Site.Page renders in
// the person's language; an operator may replace templates, texts and images by
// files of the same name. It refuses to decide anything: which page comes next,
// who is signed in and what a client may know are told to it. No step needs
// JavaScript.
//
// Threat: names, logos, addresses and messages come from clients, upstreams and
// requests, and may be hostile. html/template escapes them by context; links to
// them are http or https or are not made; what reaches the Content-Security-Policy
// is rebuilt from parsed parts, never copied. Pages cannot be framed, load nothing
// foreign but the logos they show, and post to nobody but us and the validated
// addresses the caller names. A page is rendered completely before its first byte
// is sent.
package web

import (
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"strings"
)

// Config is what the pages depend on.
type Config struct {
	// BasePath is the path of the issuer: "/dex", or "" when it has none.
	BasePath string
	// HTTPS says that the issuer is https: Strict-Transport-Security is sent.
	HTTPS bool
	// Frontend is the operator's taste.
	Frontend Frontend
	// Logger gets the failures of templates, which the person sees as a plain
	// 500. nil: nobody does.
	Logger *slog.Logger
}

// Frontend is how the pages look: the `frontend:` section of the configuration.
type Frontend struct {
	// IssuerName is the name of the operator's service; "Countersign" when empty.
	IssuerName string
	// LogoURL is an https address, or the name of a file in Dir/static; the
	// embedded logo when empty.
	LogoURL string
	// Theme is ThemeAuto (also when empty), ThemeLight or ThemeDark.
	Theme string
	// Colors replace those of the stylesheet.
	Colors Colors
	// Dir is a folder whose files win over the embedded ones of the same name:
	// templates/*.html, locales/*.json, static/*. It is read once, by New.
	Dir string
	// Extra is for the operator's own templates: {{.Site.Extra.key}}.
	Extra map[string]string
}

// Site renders pages. It is safe for concurrent use.
type Site struct {
	basePath  string
	https     bool
	logger    *slog.Logger
	look      look
	logo      string // the origin of a foreign logo, as a CSP source, or ""
	templates map[string]*template.Template
	languages *languages
	assets    assets
	plain     http.Header // of every response that is no page
	machine   http.Header // of those that programs read
}

// look is what templates know of the site.
type look struct {
	IssuerName  string
	LogoURL     string
	ColorScheme string
	Extra       map[string]string
}

// New reads and checks everything there is to render: broken templates,
// incomplete catalogues, unknown file names and unreadable colours are errors
// now, not pages later.
func New(config Config) (*Site, error) {
	if p := config.BasePath; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/")) {
		return nil, fmt.Errorf("base path %q must start with a slash and not end with one", p)
	}
	files, err := readFiles(config.Frontend.Dir)
	if err != nil {
		return nil, fmt.Errorf("reading frontend files: %w", err)
	}
	s := &Site{basePath: config.BasePath, https: config.HTTPS, logger: config.Logger}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(s.dress(config.Frontend, files), s.learn(files)); err != nil {
		return nil, err
	}
	if err := s.parse(files); err != nil {
		return nil, err
	}
	s.plain = make(http.Header)
	s.Headers(s.plain, Policy{})
	s.machine = maps.Clone(s.plain)
	for _, name := range ofWindows {
		s.machine.Del(name)
	}
	return s, nil
}

// dress sets what the stylesheet, the logo and the name are.
func (s *Site) dress(f Frontend, files files) error {
	style, scheme, err := stylesheet(f.Theme, f.Colors)
	if err != nil {
		return err
	}
	if _, own := files.static["style.css"]; !own {
		files.static["style.css"] = style
	}
	s.assets = newAssets(s.basePath+"/static/", files.static)
	s.look = look{IssuerName: f.IssuerName, ColorScheme: scheme, Extra: maps.Clone(f.Extra)}
	if s.look.IssuerName == "" {
		s.look.IssuerName = "Countersign"
	}
	return s.hang(f.LogoURL)
}

// hang resolves the logo.
func (s *Site) hang(logo string) error {
	if logo == "" {
		logo = "logo.svg"
	}
	var ok bool
	if s.look.LogoURL, s.logo, ok = s.picture(logo); !ok {
		return fmt.Errorf("frontend.logoURL %q is neither an https address nor a file in frontend.dir's static folder", logo)
	}
	return nil
}

// picture is where a logo is, the name of a static file or an https address, and the
// CSP source of a foreign one.
func (s *Site) picture(logo string) (address, source string, ok bool) {
	if address, err := s.assets.url(logo); err == nil {
		return address, "", true
	}
	if source, ok = imageSource(logo); !ok {
		return "", "", false
	}
	return logo, source, true
}
