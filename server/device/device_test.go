package device_test

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/e2e/fuzz"
	"github.com/countersign/countersign/server/device"
)

func TestOf(t *testing.T) {
	for agent, want := range map[string]device.Device{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                                {"Firefox", "Linux"},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36":                                       {"Chrome", "Windows"},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":                         {"Edge", "Windows"},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15":                                 {"Safari", "macOS"},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 OPR/112.0":                       {"Opera", "macOS"},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1":               {"Safari", "iPhone"},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1":                {"Chrome", "iPhone"},
		"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605.1.15":                      {"Firefox", "iPad"},
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36":                                 {"Chrome", "Android"},
		"Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36":    {"Samsung Internet", "Android"},
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36":                                        {"Chrome", "ChromeOS"},
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36":                                         {"Chrome", "Linux"},
		"Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/114.0.5735.196 Mobile Safari/537.36": {"Chrome", "Android"},
		"Mozilla/5.0 (X11; FreeBSD amd64; rv:127.0) Gecko/20100101 Firefox/127.0":                                                                               {"Firefox", "FreeBSD"},
		"Mozilla/5.0":                                {},
		"kubelogin/v1.28.0 (darwin/arm64)":           {"kubelogin", "macOS"},
		"countersign/1.2.3 (linux/amd64)":            {"countersign", "Linux"},
		"kubectl/v1.30.1 (windows/amd64) kubernetes": {"kubectl", "Windows"},
		"Go-http-client/1.1":                         {"Go-http-client", ""},
		"curl/8.5.0":                                 {"curl", ""},
		"okhttp/4.12.0":                              {"okhttp", ""},
		"python-requests/2.32.3":                     {"python-requests", ""},
		"Firefox on Linux":                           {"Firefox", "Linux"},
		"":                                           {},
		" ":                                          {},
		"<script>alert(1)</script>":                  {},
		"a<b>Linux</b>":                              {"a", "Linux"},
		"../../etc/passwd":                           {},
		"\x00\xff":                                   {},
		"Änderung/1":                                 {},
		strings.Repeat("a", 256):                     {strings.Repeat("a", 32), ""},
		"Mozilla/5.0 \"><img src=x onerror=alert(1)>": {},
	} {
		if got := device.Of(agent); got != want {
			t.Errorf("%q is %+v, want %+v", agent, got, want)
		}
	}
}

// Whatever the header holds, what is repeated of it is short and harmless.
func FuzzOf(f *testing.F) {
	fuzz.Widely(f)
	f.Add("Mozilla/5.0 (X11; Linux x86_64) Firefox/1")
	f.Add("kubelogin/v1.28.0 (darwin/arm64)")
	f.Fuzz(func(t *testing.T, agent string) {
		d := device.Of(agent)
		if len(d.Program) > 32 || len(d.System) > 16 || strings.ContainsAny(d.Program+d.System, "<>&\"'\x00\n/") {
			t.Errorf("%q is %+v", agent, d)
		}
	})
}
