package web

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
)

// Policy is what a response may use beyond nothing. The zero value is right for
// everything that is no page: redirects, JSON, plain errors.
type Policy struct {
	// Page allows our own stylesheet and images, and forms that post to us.
	Page bool
	// Images are further sources of images, from imageSource.
	Images []string
	// FormAction are further sources a form may lead to, from FormActionSource.
	FormAction []string
	// LeavesByForm lifts form-action: the page's form ends our part of the way,
	// and where its receiver sends people then is not for us to know.
	LeavesByForm bool
	// Script is the text of the one inline script that may run.
	Script string
}

// features are the powers of a browser that no page of ours uses, nor anything
// that might sneak into one. Ones that Chromium does not know would be warnings
// on every page.
var features = []string{
	"accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen",
	"geolocation", "gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer", "microphone", "midi",
	"payment", "picture-in-picture", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
}

var permissionsPolicy = strings.Join(features, "=(), ") + "=()"

// PlainHeaders sets what every response carries that is no page: it is Headers
// with the zero Policy, without making it anew for each. The values are shared:
// they may be replaced and added to, not changed in place.
func (s *Site) PlainHeaders(h http.Header) { maps.Copy(h, s.plain) }

// MachineHeaders sets what a response carries that programs read: PlainHeaders
// without what only means something to a document in a window. With these a
// response has no more headers than eight, for which maps are fastest.
func (s *Site) MachineHeaders(h http.Header) { maps.Copy(h, s.machine) }

// ofWindows are the headers of PlainHeaders that programs do without. Who puts
// such a response into a frame is stopped by the policy's frame-ancestors.
var ofWindows = []string{"X-Frame-Options", "Cross-Origin-Opener-Policy", "Permissions-Policy", "Referrer-Policy"}

// Headers sets what every response carries. Callers of Page need not call it;
// everybody else who answers a browser does.
//
// Referrer-Policy is no-referrer, so that no code or state leaks to where a page
// leads. The pages themselves lower it to same-origin with a <meta>: under
// no-referrer, browsers post our own forms with "Origin: null", and where they
// send no Sec-Fetch-Site either (plain http, older Safari) a form of ours could
// not be told from a stranger's.
func (s *Site) Headers(h http.Header, p Policy) {
	h.Set("Content-Security-Policy", s.contentSecurityPolicy(p))
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", permissionsPolicy)
	h.Set("Cache-Control", "no-store")
	if s.https {
		// Without includeSubDomains: the neighbours of the issuer are not ours.
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// contentSecurityPolicy writes the header (CSP Level 3) from sources that were
// rebuilt from parsed addresses.
func (s *Site) contentSecurityPolicy(p Policy) string {
	directives := []string{"default-src 'none'"}
	if p.Page {
		directives = append(directives, "style-src 'self'", "img-src "+strings.Join(append([]string{"'self'"}, p.Images...), " "))
		if s.assets.fonts {
			directives = append(directives, "font-src 'self'")
		}
	}
	if p.Script != "" {
		sum := sha256.Sum256([]byte(p.Script))
		directives = append(directives, "script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	switch {
	case p.LeavesByForm:
	case p.Page:
		directives = append(directives, "form-action "+strings.Join(append([]string{"'self'"}, p.FormAction...), " "))
	default:
		directives = append(directives, "form-action 'none'")
	}
	directives = append(directives, "base-uri 'none'", "frame-ancestors 'none'")
	return strings.Join(directives, "; ")
}
