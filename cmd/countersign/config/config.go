// Package config turns the operator's one YAML file into a checked Config.
//
// Its keys are Dex's wherever the concept is Dex's. It refuses to guess: an
// unknown key, a wrong type, an unset variable or an empty secret is a problem
// that names its path and line, and all problems are reported at once. It opens
// no database and no listener.
//
// Threat: a file that says something else than its author thinks. A misspelt
// switch that is silently ignored, a secret that is empty because a variable was
// not set, or a hash whose dollar signs were taken for variables would each let
// strangers in. Variables are put into values after the YAML was parsed, so that
// they cannot add keys. Aliases, file sizes and messages are bounded, and no
// message repeats a secret.
package config

import (
	"io/fs"
	"os"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// Config is the whole file, with every default filled in and every secret read.
//
// In the comments of the fields below, "default" is what holds when the key is
// absent. The tag mapstructure names the key; the tag config says what else the
// key accepts (see schema).
type Config struct {
	// Issuer is the public base URL: the `iss` of every token, and what every
	// endpoint's address starts with. Required. It has no trailing slash.
	Issuer string `mapstructure:"issuer"`
	// Storage is where records live. Default: SQLite in data/countersign.db.
	Storage Storage `mapstructure:"storage"`
	// Web is the listener that people and relying parties talk to. Required.
	Web Web `mapstructure:"web"`
	// Telemetry is the listener for health, metrics and profiling, and where
	// traces go.
	Telemetry Telemetry `mapstructure:"telemetry"`
	// Expiry says how long things are valid.
	Expiry Expiry `mapstructure:"expiry"`
	// OAuth2 changes what the protocol endpoints accept.
	OAuth2 OAuth2 `mapstructure:"oauth2"`
	// StaticClients are the relying parties.
	StaticClients []StaticClient `mapstructure:"staticClients"`
	// Connectors are the upstreams that know who people are.
	Connectors []Connector `mapstructure:"connectors"`
	// EnablePasswordDB adds the connector "local" with StaticPasswords.
	EnablePasswordDB bool `mapstructure:"enablePasswordDB"`
	// StaticPasswords are the people of the connector "local".
	StaticPasswords []Password `mapstructure:"staticPasswords"`
	// Frontend is the look of the pages.
	Frontend Frontend `mapstructure:"frontend"`
	// Logger is how the log is written.
	Logger Logger `mapstructure:"logger"`
	// Audit is where the records of who did what go.
	Audit Audit `mapstructure:"audit"`
	// Signer is how tokens are signed.
	Signer Signer `mapstructure:"signer"`
	// Sessions is how long a browser stays signed in.
	Sessions Sessions `mapstructure:"sessions"`
	// Secrets are the master secrets, decoded: the first makes, all check. Each
	// has at least 32 bytes. Default: none, then one is generated into the
	// store. An entry is text, or "base64:" and base64 of the secret; or one of
	// {value, env, file}.
	Secrets [][]byte `mapstructure:"secrets" config:"sources"`

	// Warnings are what the operator should know and may live with, one
	// sentence each, starting with the key's path.
	Warnings []string `mapstructure:"-"`
}

// Outside is what a configuration may refer to beside its own text.
type Outside struct {
	// Env looks a variable up, as os.LookupEnv does.
	Env func(name string) (string, bool)
	// ReadFile returns a file of bounded size.
	ReadFile func(path string) ([]byte, error)
	// Stat is used for folders.
	Stat func(path string) (fs.FileInfo, error)
}

// Load reads and checks the file at path. Its error is an *Error whenever the
// file is to blame, also when it cannot be read.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, &Error{File: path, Problems: []Problem{{Message: "cannot be read: " + err.Error()}}}
	}
	return Parse(path, data, Outside{Env: env, ReadFile: readFile, Stat: os.Stat})
}

// Parse checks the text of a configuration file. file is only for messages.
// Files named inside are read through outside, relative to the working folder.
func Parse(file string, data []byte, outside Outside) (*Config, error) {
	r := newReport()
	root := parseDocument(data, r)
	if len(r.problems) > 0 {
		return nil, r.err(file)
	}
	w := &walker{report: r, outside: outside, budget: maxNodes}
	settings := w.root(root)
	cfg, err := decode(settings)
	if err != nil {
		// The walk has already refused what does not fit; this is the second net.
		r.add("", 0, "cannot be decoded: %v", err)
		return nil, r.err(file)
	}
	if !w.exhausted() {
		c := &checker{report: r, cfg: cfg, outside: outside}
		c.all()
	}
	if len(r.problems) > 0 {
		return nil, r.err(file)
	}
	return cfg, nil
}

// decode lets viper assemble the typed values into the struct, exactly: a key
// that the struct does not have is an error.
func decode(settings map[string]any) (*Config, error) {
	// No key can contain the delimiter, so dots in keys mean nothing.
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	if err := v.MergeConfigMap(settings); err != nil {
		return nil, err
	}
	cfg := defaults(settings)
	err := v.UnmarshalExact(cfg, func(dc *mapstructure.DecoderConfig) {
		dc.WeaklyTypedInput = false
		dc.DecodeHook = nil
	})
	return cfg, err
}

// defaults is the configuration of which the file changes parts.
func defaults(settings map[string]any) *Config {
	return &Config{
		Storage:   defaultStorage(settings["storage"]),
		Web:       defaultWeb(),
		Telemetry: Telemetry{OTLP: OTLP{SampleRatio: 1}},
		Expiry: Expiry{
			IDTokens:     10 * time.Minute,
			AuthCodes:    time.Minute,
			AuthRequests: 30 * time.Minute,
		},
		OAuth2:   OAuth2{PKCE: PKCE{CodeChallengeMethodsSupported: []string{"S256"}}, AccessTokenFormat: "opaque"},
		Frontend: Frontend{Issuer: "Countersign", Theme: "auto"},
		Logger:   Logger{Format: "text"},
		Audit:    Audit{Enabled: true, File: StandardOutput},
		Signer:   Signer{Type: "local", Local: &LocalSigner{Algorithm: "RS256"}},
		Sessions: defaultSessions(),
	}
}
