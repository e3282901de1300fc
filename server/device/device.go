// Package device says in plain words what a User-Agent header claims: which
// program, on which system.
//
// It refuses to be exact: versions change weekly and say nothing to the person who
// wonders whether that is their laptop. What it does not know it leaves out.
//
// Threat: the header is anybody's text. Of a program that is not known only the
// first word is repeated, in letters that are harmless everywhere.
package device

import (
	"regexp"
	"strings"
)

// Device is what a User-Agent header claims. Both are empty when it says nothing.
type Device struct {
	// Program is the browser, or the first word of another program.
	Program string
	// System is what it runs on.
	System string
}

// browsers are known by a part of the header. Most call themselves by the names of
// others, too, so the more particular come first.
var browsers = []struct{ mark, name string }{
	{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"},
	{"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"}, {"YaBrowser/", "Yandex Browser"},
	{"DuckDuckGo/", "DuckDuckGo"}, {"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"}, {"CriOS/", "Chrome"},
	{"Chromium/", "Chromium"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"},
	{"Version/", "Safari"}, // with Safari/, and no mark of another
}

// systems are known by a part of the header, in any case: browsers write Windows
// NT, Go's programs windows/amd64. Android says Linux too.
var systems = []struct{ mark, name string }{
	{"iphone", "iPhone"}, {"ipad", "iPad"}, {"android", "Android"}, {"windows", "Windows"}, {"cros", "ChromeOS"},
	{"mac os x", "macOS"}, {"macintosh", "macOS"}, {"macos", "macOS"}, {"darwin", "macOS"},
	{"freebsd", "FreeBSD"}, {"openbsd", "OpenBSD"}, {"linux", "Linux"},
}

// word is the name of a product (RFC 9110 section 10.1.5), and how much is
// repeated of it.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}`)

// Of reads a User-Agent header.
func Of(userAgent string) Device {
	return Device{Program: programOf(userAgent), System: systemOf(userAgent)}
}

func programOf(userAgent string) string {
	if !strings.HasPrefix(userAgent, "Mozilla/") {
		return word.FindString(userAgent)
	}
	for _, b := range browsers {
		if strings.Contains(userAgent, b.mark) {
			return b.name
		}
	}
	return ""
}

func systemOf(userAgent string) string {
	lower := strings.ToLower(userAgent)
	for _, s := range systems {
		if strings.Contains(lower, s.mark) {
			return s.name
		}
	}
	return ""
}
