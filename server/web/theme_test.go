package web

import (
	"regexp"
	"strings"
	"testing"
)

func TestStylesheets(t *testing.T) {
	for theme, want := range map[string]struct {
		light, dark, media bool
		scheme             string
	}{
		"":         {true, true, true, "light dark"},
		ThemeAuto:  {true, true, true, "light dark"},
		ThemeLight: {true, false, false, "light"},
		ThemeDark:  {false, true, false, "dark"},
	} {
		style, scheme, err := stylesheet(theme, Colors{})
		if err != nil {
			t.Fatal(err)
		}
		s := string(style)
		if strings.Contains(s, lightStyle) != want.light || strings.Contains(s, darkStyle) != want.dark ||
			strings.Contains(s, "prefers-color-scheme") != want.media || scheme != want.scheme {
			t.Errorf("theme %q: color-scheme %q\n%.200s", theme, scheme, s)
		}
	}
}

func TestColors(t *testing.T) {
	for _, c := range []struct {
		colors Colors
		want   string // in the stylesheet
		err    string
	}{
		{Colors{Accent: "#FF8800"}, "--accent: #ff8800;\n--on-accent: #000000;", ""},
		{Colors{Accent: "#003366"}, "--accent: #003366;\n--on-accent: #ffffff;", ""},
		{Colors{AccentDark: "#eeeeee"}, "--accent: #eeeeee;\n--on-accent: #000000;", ""},
		{Colors{Background: "#ffffff"}, "--background: #ffffff;", ""},
		{Colors{BackgroundDark: "#000000"}, "--background: #000000;", ""},
		{Colors{Background: "#333333"}, "", "frontend.colors.background: text on #333333 would have a contrast of"},
		{Colors{BackgroundDark: "#eeeeee"}, "", "frontend.colors.backgroundDark: text on"},
		{Colors{Accent: "red"}, "", `frontend.colors.accent: "red" is not a colour`},
		{Colors{AccentDark: "#fff"}, "", "frontend.colors.accentDark"},
		{Colors{Accent: "#000000; } * { display: none"}, "", "frontend.colors.accent"},
	} {
		style, _, err := stylesheet(ThemeAuto, c.colors)
		if c.err == "" && (err != nil || !strings.Contains(string(style), c.want)) {
			t.Errorf("%+v: %v, and no %q", c.colors, err, c.want)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%+v: %v", c.colors, err)
		}
	}
	if _, _, err := stylesheet("sepia", Colors{}); err == nil || !strings.Contains(err.Error(), `frontend.theme "sepia" is none of auto, light, dark`) {
		t.Error(err)
	}
}

// Text on any accent is legible: that is why operators may choose any.
func TestEveryAccentIsLegible(t *testing.T) {
	for n := 0; n < 1<<24; n += 4999 {
		c, err := parseColor("#" + strings.ToUpper(hex6(n)))
		if err != nil {
			t.Fatal(err)
		}
		if got := contrast(c, legible(c)); got < minContrast {
			t.Fatalf("%s has %f", hexColor(c), got)
		}
	}
}

func hex6(n int) string {
	const digits = "0123456789abcdef"
	var b [6]byte
	for i := range b {
		b[5-i] = digits[n>>(4*i)&15]
	}
	return string(b[:])
}

// The contrasts of both themes: 4.5 for text (WCAG 2.2, 1.4.3), 3 for the edges of
// fields and the focus ring (1.4.11).
func TestContrasts(t *testing.T) {
	declaration := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)
	for name, theme := range map[string]string{"light": lightStyle, "dark": darkStyle} {
		colors := map[string]string{}
		for _, m := range declaration.FindAllStringSubmatch(theme, -1) {
			colors[m[1]] = m[2]
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"text", "card", 7}, {"text", "hover", 4.5}, {"text", "danger-background", 4.5}, {"muted", "card", 4.5},
			{"muted", "background", 4.5}, {"muted", "hover", 4.5}, {"danger", "danger-background", 4.5}, {"on-accent", "accent", 4.5},
			{"field", "card", 3}, {"danger", "card", 3}, {"focus", "card", 3}, {"focus", "background", 3}, {"accent", "card", 3},
		} {
			front, err1 := parseColor(colors[pair.front])
			back, err2 := parseColor(colors[pair.back])
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if got := contrast(front, back); got < pair.least {
				t.Errorf("%s: %s on %s has %.2f, it needs %.1f", name, pair.front, pair.back, got, pair.least)
			}
		}
		muted, err := parseColor(colors["muted"])
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]any{"light": lightMuted, "dark": darkMuted}[name]; muted != want {
			t.Errorf("%s: --muted is %v in the stylesheet and %v in the program", name, muted, want)
		}
	}
}
