package web

import (
	"html/template"
	"time"

	"github.com/countersign/countersign/server/device"
)

// Account shows people where they are signed in, and lets them end it. It posts
// `subject`, and one of `session` with the id of a Browser, `grant` with that of an
// App, `end=apps` and `end=all`.
type Account struct {
	Person Person
	Action string
	// Subject binds the answer to the person whose page it is.
	Subject string
	// Done says what has just been ended; empty: nothing.
	Done     AccountDone
	Browsers []Browser
	Apps     []App
	// MoreBrowsers: there are more than are shown.
	MoreBrowsers bool
	// OlderURL and NewestURL lead to other pages of Apps; empty: there is none.
	OlderURL  string
	NewestURL string
}

// AccountDone is what a person has ended.
type AccountDone string

// What a person can end and still see the page.
const (
	DoneNothing AccountDone = ""
	DoneBrowser AccountDone = "browser"
	DoneApp     AccountDone = "app"
	DoneApps    AccountDone = "apps"
)

// doneTexts are the sentences that confirm.
var doneTexts = map[AccountDone]string{
	DoneBrowser: "my.done.browser",
	DoneApp:     "my.done.app",
	DoneApps:    "my.done.apps",
}

// Where is a device, as far as it is known, and when it was there.
type Where struct {
	Device  device.Device
	Address string
	At      time.Time
}

// Browser is one signed-in browser.
type Browser struct {
	ID string
	// Current: the one that shows the page.
	Current bool
	Since   Where
	Used    time.Time
}

// App is an app that stays signed in on one device.
type App struct {
	ID    string
	Name  string
	Since Where
	// Used is when, and from where, it last asked for new tokens.
	Used Where
}

func (Account) template() string { return "account" }

// Confirmation is the key of the sentence that confirms; empty: there is none.
func (p Account) Confirmation() string { return doneTexts[p.Done] }

// Device names a device in a sentence.
func (v view) Device(d device.Device) (template.HTML, error) {
	switch {
	case d.Program != "" && d.System != "":
		return v.T("my.device", "program", d.Program, "system", d.System)
	case d.Program != "":
		return v.T("my.device.part", "part", d.Program)
	case d.System != "":
		return v.T("my.device.part", "part", d.System)
	}
	return v.T("my.device.unknown")
}

// Time is a time to the minute, the same in all languages. Nothing is known of the
// time zone of who reads it.
func (v view) Time(t time.Time) template.HTML {
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04") + ` UTC</time>`)
}

// Signed says since when, and from where.
func (v view) Signed(w Where) (template.HTML, error) {
	if w.Address == "" {
		return v.T("my.since", "time", v.Time(w.At))
	}
	return v.T("my.since.from", "time", v.Time(w.At), "address", w.Address)
}

// Used says when an app was last used, and from where.
func (v view) Used(w Where) (template.HTML, error) {
	if w.Address == "" {
		return v.T("my.used", "time", v.Time(w.At))
	}
	return v.T("my.used.from", "time", v.Time(w.At), "address", w.Address)
}
