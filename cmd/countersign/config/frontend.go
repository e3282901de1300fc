package config

import (
	"reflect"
	"regexp"
)

// Frontend is the look of the pages.
type Frontend struct {
	// Issuer is the name shown. Default: Countersign.
	Issuer string `mapstructure:"issuer"`
	// LogoURL is a picture: an https URL, or a path under the issuer.
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

// Colors are written #rgb or #rrggbb. Default: those of the theme.
type Colors struct {
	// Primary is that of buttons and links.
	Primary string `mapstructure:"primary"`
	// OnPrimary is that of text on Primary.
	OnPrimary string `mapstructure:"onPrimary"`
	// Background is that of the page.
	Background string `mapstructure:"background"`
	// Surface is that of the card in its middle.
	Surface string `mapstructure:"surface"`
	// Text is that of text on Background and Surface.
	Text string `mapstructure:"text"`
}

// color admits nothing that could end a declaration of a stylesheet.
var color = regexp.MustCompile(`^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)

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
