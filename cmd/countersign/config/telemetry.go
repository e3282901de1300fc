package config

import (
	"net"
	"net/url"
)

// Telemetry is how operators look inside.
type Telemetry struct {
	// HTTP is the address for health, readiness and metrics. Default: none.
	HTTP string `mapstructure:"http"`
	// EnableProfiling adds /debug/pprof/. Default: false.
	EnableProfiling bool `mapstructure:"enableProfiling"`
	// OTLP is where traces are sent.
	OTLP OTLP `mapstructure:"otlp"`
}

// OTLP is an OpenTelemetry collector, spoken to over HTTP.
type OTLP struct {
	// Endpoint is HOST:PORT, or a URL with a path. Default: no traces are sent.
	Endpoint string `mapstructure:"endpoint"`
	// Insecure sends over plain HTTP. Default: false.
	Insecure bool `mapstructure:"insecure"`
	// Headers are sent along, such as a key. An entry may be {env: NAME} or
	// {file: PATH}.
	Headers map[string]string `mapstructure:"headers" config:"sources"`
	// SampleRatio is the part of the requests to trace, from 0 to 1. Default: 1.
	SampleRatio float64 `mapstructure:"sampleRatio"`
}

func (c *checker) telemetry() {
	t := c.cfg.Telemetry
	c.address("telemetry.http", t.HTTP)
	if t.HTTP != "" && (t.HTTP == c.cfg.Web.HTTP || t.HTTP == c.cfg.Web.HTTPS) {
		c.problem("telemetry.http", "is an address of web: give it its own, which strangers cannot reach")
	}
	if t.EnableProfiling && !c.given("telemetry.http") {
		c.problem("telemetry.enableProfiling", "needs telemetry.http")
	}
	c.otlp(t.OTLP)
}

func (c *checker) otlp(o OTLP) {
	const path = "telemetry.otlp"
	if o.Endpoint == "" {
		c.notEmpty(path+".endpoint", o.Endpoint)
	} else if _, _, err := net.SplitHostPort(o.Endpoint); err != nil {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			c.problem(path+".endpoint", "%q is neither HOST:PORT nor a URL: write collector:4318 or https://collector/v1/traces", clip(o.Endpoint))
		}
	}
	if !(o.SampleRatio >= 0 && o.SampleRatio <= 1) { // so that NaN is refused
		c.problem(path+".sampleRatio", "wants a number from 0 (none) to 1 (all)")
	}
}
