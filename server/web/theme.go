package web

import (
	_ "embed"
	"fmt"
	"image/color"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// The themes of Frontend.Theme.
const (
	ThemeAuto  = "auto" // as the browser prefers
	ThemeLight = "light"
	ThemeDark  = "dark"
)

// The stylesheet: what both themes share, and the colours of each as declarations
// without a selector.
var (
	//go:embed style/base.css
	baseStyle string
	//go:embed style/light.css
	lightStyle string
	//go:embed style/dark.css
	darkStyle string
)

// Colors are the operator's, as #rrggbb; empty ones are the stylesheet's. Text on
// the accent is black or white, whichever reads better, so any accent is legible.
type Colors struct {
	// Accent fills the main button.
	Accent     string
	AccentDark string
	// Background is behind the card. It must leave the text on it legible.
	Background     string
	BackgroundDark string
}

// The colours of the text that stands on the background, in the stylesheet.
var (
	lightMuted = color.NRGBA{0x55, 0x5d, 0x68, 0xff}
	darkMuted  = color.NRGBA{0xa6, 0xaf, 0xba, 0xff}
)

// minContrast is WCAG 2.2, success criterion 1.4.3 (AA).
const minContrast = 4.5

// stylesheet returns the stylesheet of a theme and the value of the
// color-scheme <meta>.
func stylesheet(theme string, colors Colors) (style []byte, scheme string, err error) {
	light, err := palette(lightStyle, "", colors.Accent, colors.Background, lightMuted)
	if err != nil {
		return nil, "", err
	}
	dark, err := palette(darkStyle, "Dark", colors.AccentDark, colors.BackgroundDark, darkMuted)
	if err != nil {
		return nil, "", err
	}
	switch theme {
	case "", ThemeAuto:
		return []byte(":root {\n" + light + "}\n\n@media (prefers-color-scheme: dark) {\n:root {\n" + dark + "}\n}\n\n" + baseStyle), "light dark", nil
	case ThemeLight:
		return []byte(":root {\n" + light + "}\n\n" + baseStyle), "light", nil
	case ThemeDark:
		return []byte(":root {\n" + dark + "}\n\n" + baseStyle), "dark", nil
	}
	return nil, "", fmt.Errorf("frontend.theme %q is none of %s, %s, %s", theme, ThemeAuto, ThemeLight, ThemeDark)
}

// palette is the declarations of a theme with the operator's colours after them.
func palette(declarations, suffix, accent, background string, muted color.NRGBA) (string, error) {
	var b strings.Builder
	b.WriteString(declarations)
	if accent != "" {
		c, err := parseColor(accent)
		if err != nil {
			return "", fmt.Errorf("frontend.colors.accent%s: %w", suffix, err)
		}
		fmt.Fprintf(&b, "--accent: %s;\n--on-accent: %s;\n", hexColor(c), hexColor(legible(c)))
	}
	if background != "" {
		c, err := parseColor(background)
		if err != nil {
			return "", fmt.Errorf("frontend.colors.background%s: %w", suffix, err)
		}
		if got := contrast(c, muted); got < minContrast {
			return "", fmt.Errorf("frontend.colors.background%s: text on %s would have a contrast of %.1f, it needs %.1f", suffix, background, got, minContrast)
		}
		fmt.Fprintf(&b, "--background: %s;\n", hexColor(c))
	}
	return b.String(), nil
}

var validColor = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`).MatchString

// parseColor reads #rrggbb and nothing else: a colour becomes part of a
// stylesheet.
func parseColor(s string) (color.NRGBA, error) {
	if !validColor(s) {
		return color.NRGBA{}, fmt.Errorf("%q is not a colour of the form #rrggbb", s)
	}
	n, err := strconv.ParseUint(s[1:], 16, 32)
	if err != nil {
		return color.NRGBA{}, err
	}
	return color.NRGBA{R: uint8(n >> 16), G: uint8(n >> 8), B: uint8(n), A: 0xff}, nil
}

func hexColor(c color.NRGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// legible is black or white: one of them always has a contrast over 4.5.
func legible(on color.NRGBA) color.NRGBA {
	black, white := color.NRGBA{A: 0xff}, color.NRGBA{0xff, 0xff, 0xff, 0xff}
	if contrast(on, white) >= contrast(on, black) {
		return white
	}
	return black
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func contrast(a, b color.NRGBA) float64 {
	l, d := luminance(a), luminance(b)
	return (max(l, d) + 0.05) / (min(l, d) + 0.05)
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(c color.NRGBA) float64 {
	linear := func(v uint8) float64 {
		s := float64(v) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.R) + 0.7152*linear(c.G) + 0.0722*linear(c.B)
}
