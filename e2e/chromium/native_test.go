package chromium_test

import (
	"bufio"
	"net/http"
	"net/url"
	"os/exec"
	"strings"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/e2e/binary"
)

// nativeApp is `countersign login`: a program that listens on a port of its own
// choice (RFC 8252 section 7.3), opened in Chromium by hand.
func nativeApp(w *world) {
	w.serve()
	cmd := exec.CommandContext(w.t.Context(), binary.Path(w.t), "login", "--issuer", w.issuer, "--client-id", "native", "--no-browser")
	var result strings.Builder
	cmd.Stdout = &result
	says, err := cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	b := w.stranger()
	b.open(addressIn(w, bufio.NewScanner(says)))
	b.fill(ada, password)
	b.approve()
	b.see("//h1[contains(., 'signed in')]")
	if err := cmd.Wait(); err != nil {
		w.t.Fatalf("countersign login: %v", err)
	}
	for _, want := range []string{"email " + ada, "aud native", "iss " + w.issuer} {
		if !strings.Contains(strings.Join(strings.Fields(result.String()), " "), want) {
			w.t.Errorf("it printed %q, without %q", result.String(), want)
		}
	}
}

// addressIn waits for a line with an address.
func addressIn(w *world, lines *bufio.Scanner) string {
	w.t.Helper()
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), w.issuer); ok {
			address, _, _ := strings.Cut(w.issuer+rest, " ")
			return address
		}
	}
	w.t.Fatalf("no address was printed: %v", lines.Err())
	return ""
}

// privateScheme is an app with a scheme of its own (RFC 8252 section 7.1): nobody
// here has it, so that the attempt is all there is to see. The app then redeems
// what it was sent.
func privateScheme(w *world) {
	w.serve()
	config := oauth2.Config{
		ClientID: "native", RedirectURL: "com.example.app:/callback", Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: w.issuer + "/auth", TokenURL: w.issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	b := w.stranger()
	b.open(config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(verifier)))
	b.fill(ada, password)
	b.see("button[name=approval]")
	event, err := chromedp.Run(b.ctx, chromedp.WaitEvent(network.RequestWillBeSent, func(e network.EventRequestWillBeSent) bool {
		return strings.HasPrefix(e.Request.URL, config.RedirectURL)
	}, chromedp.Click(chromedp.CSS("button[value=approve]"))))
	if err != nil {
		b.fail("waiting for the app to be called: %v", err)
	}
	b.expect("net::ERR_ABORTED") // there is no such app
	answer, err := url.Parse(event.Request.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	if answer.Query().Get("state") != "the-state" || answer.Query().Get("iss") != w.issuer {
		w.t.Errorf("the app was called with %s", answer)
	}
	token, err := config.Exchange(w.t.Context(), answer.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil || token.Extra("id_token") == nil {
		w.t.Errorf("redeeming: %v", err)
	}
	if r := event.RedirectResponse; r == nil || r.Status != http.StatusSeeOther {
		w.t.Errorf("the app was not called by a 303: %+v", r)
	}
}
