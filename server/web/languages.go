package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Bounds on what a stranger says about languages; more is not looked at.
const (
	maxLocales        = 16
	maxAcceptLanguage = 1000
)

// catalogue is every text of the pages in one language. The file is a JSON object
// of key to text; {name} stands for a value.
type catalogue struct {
	tag   language.Tag
	texts map[string]text
}

// text is a message cut at its placeholders: literals[0] names[0] literals[1] …
type text struct {
	literals []string
	names    []string
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

func parseText(s string) text {
	var t text
	end := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(s, -1) {
		t.literals = append(t.literals, s[end:m[0]])
		t.names = append(t.names, s[m[2]:m[3]])
		end = m[1]
	}
	t.literals = append(t.literals, s[end:])
	return t
}

// languages are the catalogues there are, English first: the one for everybody
// whose languages we do not speak.
type languages struct {
	catalogues []catalogue
	matcher    language.Matcher
}

// learn reads the catalogues: the embedded ones, the operator's texts over them,
// and the operator's further languages, which must be complete.
func (s *Site) learn(files files) error {
	texts := map[string]map[string]string{}
	var errs []error
	for _, folder := range []map[string][]byte{files.locales, files.own} {
		for name, content := range folder {
			var m map[string]string
			if err := json.Unmarshal(content, &m); err != nil {
				errs = append(errs, fmt.Errorf("locales/%s: %w", name, err))
			}
			if texts[name] == nil {
				texts[name] = map[string]string{}
			}
			maps.Copy(texts[name], m)
		}
	}
	l := &languages{}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		c, err := newCatalogue(name, texts[name], texts["en.json"])
		errs = append(errs, err)
		l.catalogues = append(l.catalogues, c)
	}
	i := slices.IndexFunc(l.catalogues, func(c catalogue) bool { return c.tag == language.English })
	l.catalogues[0], l.catalogues[i] = l.catalogues[i], l.catalogues[0]
	tags := make([]language.Tag, len(l.catalogues))
	for i, c := range l.catalogues {
		tags[i] = c.tag
	}
	l.matcher = language.NewMatcher(tags)
	s.languages = l
	return errors.Join(errs...)
}

// newCatalogue checks the texts of a language against English: the same keys, and
// in each text the same placeholders.
func newCatalogue(file string, texts, english map[string]string) (catalogue, error) {
	tag, err := language.Parse(strings.TrimSuffix(file, ".json"))
	if err != nil || path.Ext(file) != ".json" {
		return catalogue{}, fmt.Errorf("locales/%s is not named after a language (BCP 47), as de.json is", file)
	}
	c := catalogue{tag: tag, texts: make(map[string]text, len(texts))}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		c.texts[key] = parseText(texts[key])
		if _, known := english[key]; !known {
			errs = append(errs, fmt.Errorf("locales/%s: unknown key %q", file, key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(english)) {
		if _, has := texts[key]; !has {
			errs = append(errs, fmt.Errorf("locales/%s: key %q is missing", file, key))
			continue
		}
		want, got := parseText(english[key]).names, c.texts[key].names
		slices.Sort(want)
		if got = slices.Sorted(slices.Values(got)); !slices.Equal(want, got) {
			errs = append(errs, fmt.Errorf("locales/%s: %q has the placeholders %q, it needs %q", file, key, got, want))
		}
	}
	return c, errors.Join(errs...)
}

// choose returns the catalogue for the ui_locales of the request (OpenID Connect
// Core section 3.1.2.1), then for Accept-Language, then English.
func (l *languages) choose(locales []string, acceptLanguage string) *catalogue {
	var wanted []language.Tag
	for _, s := range locales[:min(len(locales), maxLocales)] {
		if tag, err := language.Parse(s); err == nil {
			wanted = append(wanted, tag)
		}
	}
	if _, i, confidence := l.matcher.Match(wanted...); confidence > language.No && len(wanted) > 0 {
		return &l.catalogues[i]
	}
	if len(acceptLanguage) > maxAcceptLanguage {
		return &l.catalogues[0]
	}
	wanted, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil || len(wanted) == 0 {
		return &l.catalogues[0]
	}
	_, i, _ := l.matcher.Match(wanted...)
	return &l.catalogues[i]
}

// rightToLeft are the scripts (ISO 15924) in use that are written so.
var rightToLeft = []string{"Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"}

// direction is the value of the dir attribute.
func (c *catalogue) direction() string {
	if script, _ := c.tag.Script(); slices.Contains(rightToLeft, script.String()) {
		return "rtl"
	}
	return "ltr"
}

// Locales are the languages there are, as BCP 47 tags, for discovery's
// ui_locales_supported.
func (s *Site) Locales() []string {
	var tags []string
	for _, c := range s.languages.catalogues {
		tags = append(tags, c.tag.String())
	}
	return tags
}
