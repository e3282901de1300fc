package config_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/storage"
)

const (
	bcryptHash = "$2y$10$PjMt7gUnhCuBI62BIiPPN.2Sm47bmR8gUW9cMQkmLP1EFCXwQb9.K"
	argonHash  = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
	envSecret  = "env-secret-0123456789abcdef0123456789"
	fileSecret = "file-secret-0123456789abcdef0123"
)

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	cfg, err := config.Load(file, env)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// parse checks a text that names no files.
func parse(text string) (*config.Config, error) {
	return config.Parse("FILE", []byte(text), config.Outside{
		Env:      env,
		ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		Stat:     func(string) (fs.FileInfo, error) { return nil, fs.ErrNotExist },
	})
}

const minimal = `
issuer: http://127.0.0.1:5556/dex
web: {http: "127.0.0.1:5556"}
enablePasswordDB: true
`

// Every key arrives, with defaults where it is absent. Secrets, variables, files
// and merged mappings are resolved; the user's own keys keep their case.
func TestEverything(t *testing.T) {
	yes, no := true, false
	second := time.Second
	none, half, eight, week, day := time.Duration(0), 30*time.Second, 8*time.Hour, 7*24*time.Hour, 24*time.Hour
	twenty, twelve := 20*time.Minute, 12*time.Hour
	want := &config.Config{
		Issuer: "https://login.example.com/dex",
		Storage: config.Storage{Type: "postgres", Postgres: &config.Postgres{
			Host: "db.example.com", Port: 6543, Database: "countersign", User: "from-env", Password: "a$bp$SECRET: [x]",
			SSL: config.SSL{
				Mode: "verify-ca", CAFile: "testdata/files/tls.crt",
				CertFile: "testdata/files/tls.crt", KeyFile: "testdata/files/tls.key",
			},
			ConnectionTimeout: 7 * second, MaxOpenConns: 50, ConnMaxLifetime: time.Hour,
			StatementTimeout: 3 * second, AcquireTimeout: second,
		}},
		Web: config.Web{
			HTTP: "127.0.0.1:5556", HTTPS: "0.0.0.0:5554", TLSCert: "testdata/files/tls.crt", TLSKey: "testdata/files/tls.key",
			TLSMinVersion: tls.VersionTLS13, TLSMaxVersion: tls.VersionTLS13,
			AllowedOrigins: []string{"*", "https://app.example.com:8443"},
			TrustedProxies: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"),
			},
			Limits: config.Limits{
				MaxConnections: 100, MaxHeaderBytes: 16384, MaxBodyBytes: 32768, ReadHeaderTimeout: second,
				ReadTimeout: 2 * second, WriteTimeout: 3 * second, IdleTimeout: 4 * second, ShutdownDelay: 6 * second, ShutdownTimeout: 5 * second,
			},
		},
		Telemetry: config.Telemetry{HTTP: "127.0.0.1:5558", EnableProfiling: true, OTLP: config.OTLP{
			Endpoint: "collector:4318", Insecure: true, SampleRatio: 0.5,
			Headers: map[string]string{"X-Api.Key": envSecret, "Lower": "0123"},
		}},
		Expiry: config.Expiry{
			SigningKeys: 6 * time.Hour, IDTokens: 5 * time.Minute, AccessTokens: time.Hour,
			AuthCodes: 30 * second, AuthRequests: 10 * time.Minute,
			RefreshTokens: config.RefreshTokens{ReuseInterval: &half, ValidIfNotUsedFor: &eight, AbsoluteLifetime: &week, DisableRotation: &yes},
		},
		OAuth2: config.OAuth2{
			ResponseTypes: []string{"code"}, SkipApprovalScreen: true, AlwaysShowLoginScreen: true, AccessTokenFormat: "jwt",
			PKCE: config.PKCE{Enforce: true, CodeChallengeMethodsSupported: []string{"S256", "plain"}},
		},
		StaticClients: []config.StaticClient{
			{
				ID: "from-env", Name: "App $SECRET", LogoURL: "https://app.example.com/logo.svg",
				Secret: fileSecret, Secrets: []string{fileSecret, envSecret, "second-secret-0123456789"},
				RedirectURIs: []string{"https://app.example.com/callback"}, TrustedPeers: []string{"cli"},
				AllowedConnectors: []string{"staff"}, SkipApprovalScreen: &no, SSOSharedWith: []string{},
				IDTokenLifetime: time.Minute, IDTokenSigningAlg: "EdDSA", AccessTokenFormat: "opaque",
				RefreshTokens: config.RefreshTokens{ReuseInterval: &none, ValidIfNotUsedFor: &twenty, AbsoluteLifetime: &twelve, DisableRotation: &no},
			},
			{ID: "cli", Public: true, RefreshTokens: config.RefreshTokens{DisableRotation: &no}},
			{ID: "mobile", Public: true, SSOSharedWith: []string{"*"}, RefreshTokens: config.RefreshTokens{DisableRotation: &no}, RedirectURIs: []string{
				"com.example.app:/callback", "http://127.0.0.1/callback", "http://[::1]:8000/callback", "http://localhost/callback",
			}},
		},
		Connectors: []config.Connector{{
			Type: "local", ID: "staff", Name: "Staff", Hidden: true, EmailDomains: []string{"example.com"},
			Recheck: &none, StaleIfError: &day, Timeout: 5 * time.Second,
			Local: &config.Local{Passwords: []config.Password{
				{Email: "carol@example.com", Hash: bcryptHash, UserID: "0042", EmailVerified: &yes},
			}},
		}},
		EnablePasswordDB: true,
		StaticPasswords: []config.Password{
			{
				Email: "Alice@example.com", Hash: argonHash, Username: "alice", Name: "Alice A.", PreferredUsername: "al",
				EmailVerified: &no, UserID: "1", Groups: []string{"admins", "$SECRET"},
			},
			{
				Email: "bob@example.com", Hash: base64.StdEncoding.EncodeToString([]byte(bcryptHash)), Username: "alice", Name: "alice", PreferredUsername: "al",
				EmailVerified: &no, UserID: "2", Groups: []string{"admins", "$SECRET"},
			},
			{Email: "dave@example.com", Hash: bcryptHash, UserID: "3", EmailVerified: &yes},
		},
		Frontend: config.Frontend{
			Issuer: "Example Login", LogoURL: "logo.svg", Theme: "dark", Dir: "testdata",
			Extra:  map[string]string{"Support.Mail": "help@example.com", "supportMail": "other@example.com", "Größe": "groß"},
			Colors: config.Colors{Accent: "#00aa00", AccentDark: "#ffffff", Background: "#fefefe", BackgroundDark: "#000000"},
		},
		Logger: config.Logger{Level: slog.LevelDebug, Format: "json"},
		Audit:  config.Audit{Enabled: false, File: "/var/log/countersign/audit.log"},
		Signer: config.Signer{Type: "local", Local: &config.LocalSigner{KeysRotationPeriod: 6 * time.Hour, Algorithm: "ES256"}},
		Sessions: config.Sessions{
			CookieName: "sid", AbsoluteLifetime: 12 * time.Hour, ValidIfNotUsedFor: 30 * time.Minute,
			RememberMeCheckedByDefault: true, RememberMeLifetime: 48 * time.Hour, SSOSharedWithDefault: "none",
		},
		Secrets: [][]byte{
			[]byte("0123456789abcdef0123456789abcdef"),
			[]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"),
			[]byte(envSecret), []byte(fileSecret),
		},
	}
	got := load(t, "testdata/good/everything.yaml")
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := parse(minimal + "connectors: [{type: local, id: staff}]\n")
	if err != nil {
		t.Fatal(err)
	}
	ten, twelve, month, no := 10*time.Second, 12*time.Hour, 30*24*time.Hour, false
	five, hour := 5*time.Minute, time.Hour
	for _, tt := range []struct {
		key       string
		got, want any
	}{
		{"storage", cfg.Storage, config.Storage{Type: "sqlite3", SQLite3: &config.SQLite3{File: "data/countersign.db", StatementTimeout: 5 * time.Second}}},
		{"expiry", cfg.Expiry, config.Expiry{
			SigningKeys: 24 * time.Hour, IDTokens: 10 * time.Minute, AccessTokens: 10 * time.Minute,
			AuthCodes: time.Minute, AuthRequests: 30 * time.Minute,
			RefreshTokens: config.RefreshTokens{ReuseInterval: &ten, ValidIfNotUsedFor: &twelve, AbsoluteLifetime: &month, DisableRotation: &no},
		}},
		{"connectors", cfg.Connectors, []config.Connector{{Type: "local", ID: "staff", Name: "staff", Recheck: &five, StaleIfError: &hour, Timeout: 5 * time.Second, Local: &config.Local{}}}},
		{"signer", cfg.Signer, config.Signer{Type: "local", Local: &config.LocalSigner{KeysRotationPeriod: 24 * time.Hour, Algorithm: "RS256"}}},
		{"oauth2", cfg.OAuth2, config.OAuth2{
			ResponseTypes: []string{"code"}, AccessTokenFormat: "opaque",
			PKCE: config.PKCE{CodeChallengeMethodsSupported: []string{"S256"}},
		}},
		{"sessions", cfg.Sessions, config.Sessions{
			CookieName: "countersign_session", AbsoluteLifetime: 24 * time.Hour, ValidIfNotUsedFor: time.Hour,
			RememberMeLifetime: 720 * time.Hour, SSOSharedWithDefault: "all",
		}},
		{"secrets", cfg.Secrets, [][]byte(nil)},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.key, diff)
		}
	}
}

// Null values, empty blocks and the short names of types are as good as nothing.
func TestNothingGiven(t *testing.T) {
	for _, text := range []string{
		"storage:\n", "storage: {}\n", "storage: {type: sqlite}\n", "storage: {type: sqlite3, config: }\n",
		"signer: {type: local}\n", "signer: {type: local, config: {}}\n", "staticClients:\n", "staticClients: []\n",
		"expiry: {idTokens: }\n", "sessions: ~\n", "frontend: {extra: {}}\n",
	} {
		cfg, err := parse(minimal + text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if cfg.Storage.Type != "sqlite3" || cfg.Storage.SQLite3.File != "data/countersign.db" || cfg.Signer.Local == nil {
			t.Errorf("%q: got %+v, %+v", text, cfg.Storage, cfg.Signer)
		}
	}
}

func TestSigningKeysIsTheOlderSpelling(t *testing.T) {
	cfg, err := parse(minimal + "expiry: {signingKeys: 6h}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Signer.Local.KeysRotationPeriod; got != 6*time.Hour {
		t.Errorf("keysRotationPeriod is %v", got)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"http issuer", strings.Replace(minimal, "127.0.0.1:5556/dex", "login.example.com", 1), "issuer: is http"},
		{"nobody", minimal, "enablePasswordDB: has no staticPasswords"},
		{"long id_token", minimal + "expiry: {idTokens: 48h}", "expiry.idTokens: is 48h:"},
		{"public secret", minimal + "staticClients: [{id: a, public: true, secret: 0123456789abcdef}]", "staticClients[0]: is public and has a secret"},
		{"weak secret", minimal + "staticClients: [{id: a, secret: secret, redirectURIs: [https://a.example.com]}]", "staticClients[0]: has a secret of 6 characters"},
		{"public, one token for ever", minimal + "staticClients: [{id: a, public: true, refreshTokens: {disableRotation: true}}]", "staticClients[0]: is public and its refresh tokens do not rotate"},
		{"public, as the server says", minimal + "expiry: {refreshTokens: {disableRotation: true}}\nstaticClients: [{id: a, public: true}]", "staticClients[0]: is public and its refresh tokens do not rotate"},
		{"http redirect", minimal + "staticClients: [{id: a, public: true, redirectURIs: [http://a.example.com]}]", "staticClients[0].redirectURIs[0]: is http"},
		{"slow upstream", minimal + "connectors: [{type: github, id: gh, timeout: 30s, config: {clientID: a, clientSecret: b}}]", "connectors[0].timeout: is 30s, and web.limits.writeTimeout 30s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(cfg.Warnings, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("warnings are %q, want one with %q", all, tt.want)
			}
		})
	}
	cfg, err := parse(minimal + "staticPasswords: [{email: a@example.com, userID: a, hash: " + bcryptHash + "}]")
	if err != nil || len(cfg.Warnings) > 0 {
		t.Errorf("a loopback issuer warns: %q, %v", cfg.Warnings, err)
	}
}

// A Dex file for what exists here starts unchanged, and does not even warn.
func TestDexFile(t *testing.T) {
	cfg := load(t, "testdata/good/dex.yaml")
	if len(cfg.Warnings) > 0 {
		t.Errorf("it warns: %q", cfg.Warnings)
	}
	got := []any{
		cfg.Storage.Postgres.ConnectionTimeout, cfg.Storage.Postgres.ConnMaxLifetime, cfg.StaticClients[1].ID, cfg.Expiry.IDTokens,
		*cfg.Expiry.RefreshTokens.ReuseInterval, *cfg.Expiry.RefreshTokens.ValidIfNotUsedFor, *cfg.Expiry.RefreshTokens.AbsoluteLifetime,
	}
	want := []any{5 * time.Second, 5 * time.Minute, "from-env", 24 * time.Hour, 3 * time.Second, 2160 * time.Hour, 3960 * time.Hour}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever is wrong with a secret, no message repeats it.
func TestMessagesKeepSecrets(t *testing.T) {
	const secret = "Hunter2"
	hidden := func(name string) (string, bool) { return secret, name == "HIDDEN" }
	for _, text := range []string{
		"secrets: [Hunter2]", "secrets: Hunter2", "secrets: [base64:Hunter2!]", "secrets: [{env: HIDDEN}]", "secrets: [[Hunter2]]",
		"staticClients: [{id: a, secret: [Hunter2]}]", "staticClients: [{id: a, secret: {Hunter2: }}]", "staticClients: Hunter2",
		"staticClients: [{id: a, secret: Hunter2, secretEnv: HIDDEN}]", "staticClients: [{id: a, secret: Hunter2, redirectURIs: [https://a.example.com]}]",
		"staticClients: [{id: a, secrets: {Hunter2: Hunter2}}]", "staticPasswords: [{email: a@example.com, hash: Hunter2}]",
		"storage: {type: postgres, config: {password: Hunter2$}}", "storage: {type: postgres, config: {password: ${Hunter2}}}",
		"storage: {type: postgres, config: {port: $HIDDEN}}", "storage: {type: postgres, config: {connectionTimeout: $HIDDEN}}",
		"storage: {type: postgres, config: {dsn: 'postgres://u:Hunter2@db/c', password: Hunter2}}",
		"telemetry: {otlp: {headers: Hunter2}}", "issuer2: https://u:Hunter2@login.example.com", "secrets: ['Hunter2",
	} {
		cfg, err := config.Parse("FILE", []byte(minimal+text), config.Outside{Env: hidden})
		message := ""
		if err != nil {
			message = err.Error()
		} else {
			message = strings.Join(cfg.Warnings, "\n")
		}
		if strings.Contains(message, secret) && !strings.Contains(text, "${Hunter2}") {
			t.Errorf("%s:\n%s", text, message)
		}
	}
	for _, issuer := range []string{"https://u:Hunter2@login.example.com", "://Hunter2"} {
		_, err := config.Parse("FILE", []byte("issuer: "+issuer), config.Outside{Env: hidden})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}

func TestRecord(t *testing.T) {
	yes, zero, hour, day := true, time.Duration(0), time.Hour, 24*time.Hour
	client := config.StaticClient{
		ID: "app", Secrets: []string{"one", "two"}, RedirectURIs: []string{"https://a.example.com/cb"}, SkipApprovalScreen: &yes,
		TrustedPeers: []string{"b"}, AllowedConnectors: []string{"c"}, SSOSharedWith: []string{}, LogoURL: "l",
		IDTokenLifetime: time.Minute, IDTokenSigningAlg: "ES256", AccessTokenFormat: "jwt",
		RefreshTokens: config.RefreshTokens{ReuseInterval: &zero, ValidIfNotUsedFor: &hour, AbsoluteLifetime: &day, DisableRotation: &yes},
	}
	want := storage.Client{
		ID: "app", Name: "app", SecretHashes: [][32]byte{sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two"))},
		RedirectURIs: []string{"https://a.example.com/cb"}, SkipApproval: &yes,
		TrustedPeers: []string{"b"}, AllowedConnectors: []string{"c"}, SSOSharedWith: []string{}, LogoURL: "l",
		IDTokenLifetime: time.Minute, IDTokenSigningAlg: "ES256", AccessTokenFormat: "jwt",
		RefreshTokens: storage.RefreshTokens{ReuseInterval: &zero, IdleLifetime: hour, AbsoluteLifetime: day, DisableRotation: &yes},
	}
	if diff := cmp.Diff(want, client.Record()); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	// What a client does not say is the server's.
	if diff := cmp.Diff(storage.RefreshTokens{}, config.StaticClient{ID: "app"}.Record().RefreshTokens); diff != "" {
		t.Errorf("refresh tokens (-want +got):\n%s", diff)
	}
}

func TestUnreadableFile(t *testing.T) {
	for file, want := range map[string]string{
		"testdata/none.yaml": "testdata/none.yaml: cannot be read: no such file or directory",
		"testdata":           "testdata: cannot be read: it is a folder",
	} {
		if _, err := config.Load(file, env); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	large := t.TempDir() + "/large.yaml"
	if err := os.WriteFile(large, []byte("#"+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(large, env); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a file of more than 1 MiB: %v", err)
	}
}
