package config

import (
	"reflect"
	"regexp"
)

// Frontend is the look of the pages.
type Frontend struct {
	// Issuer is the name shown. Default: Countersign.
	Issuer string `mapstructure:"issuer"`
	// LogoURL is a picture: an https URL, or the name of a file in dir's folder
	// static. Default: the built-in one.
	LogoURL string `mapstructure:"logoURL"`
	// Theme is light, dark or auto: what the browser prefers. Default: auto.
	Theme string `mapstructure:"theme"`
	// Dir is a folder whose files replace the built-in pages and assets.
	Dir string `mapstructure:"dir"`
	// Extra are the operator's own values for templates in Dir.
	Extra map[string]string `mapstructure:"extra"`
	// Colors replace colours of the theme.
	Colors Colors `mapstructure:"colors"`
}

// Colors are written #rrggbb. Default: those of the theme.
type Colors struct {
	// Accent fills the main button; AccentDark does in the dark theme.
	Accent     string `mapstructure:"accent"`
	AccentDark string `mapstructure:"accentDark"`
	// Background is behind the card; BackgroundDark is in the dark theme.
	Background     string `mapstructure:"background"`
	BackgroundDark string `mapstructure:"backgroundDark"`
}

// color admits nothing that could end a declaration of a stylesheet.
var color = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

func (c *checker) frontend() {
	f := c.cfg.Frontend
	c.notEmpty("frontend.issuer", f.Issuer)
	if !printable(f.Issuer) {
		c.problem("frontend.issuer", "has letters that cannot be shown: remove them")
	}
	c.logo("frontend.logoURL", f.LogoURL)
	c.oneOf("frontend.theme", f.Theme, "auto", "light", "dark")
	if f.Dir != "" {
		if info, err := c.outside.Stat(f.Dir); err != nil || !info.IsDir() {
			c.problem("frontend.dir", "%q is no folder that can be read", clip(f.Dir))
		}
	}
	colors := reflect.ValueOf(f.Colors)
	for i := range colors.NumField() {
		path := "frontend.colors." + colors.Type().Field(i).Tag.Get("mapstructure")
		if value := colors.Field(i).String(); c.given(path) && !color.MatchString(value) {
			c.problem(path, "%q is no colour: write it as #rrggbb, in quotes (a bare # begins a comment)", clip(value))
		}
	}
}
