package chromium_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/countersign/countersign/e2e/browser"
)

// demo is what `make run` serves, with its own user and client: nothing but the
// ports differ.
func demo(w *world) {
	example, err := os.ReadFile(filepath.Join(browser.Root(w.t), "config.example.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(strings.NewReplacer("127.0.0.1:5556", "{address}", "127.0.0.1:5558", "{telemetry}").Replace(string(example)))
	w.app = newApp(w.t, w, "demo", "", "127.0.0.1")
	b := w.stranger()
	b.open(w.app.address("/"))
	b.click("#login")
	b.fill("admin@example.com", "password")
	b.approve()
	claims := b.claims()
	for name, want := range map[string]any{
		"iss": w.issuer, "aud": "demo", "sub": "CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
		"email": "admin@example.com", "email_verified": true, "name": "admin",
	} {
		if claims[name] != want {
			w.t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
}
