package config

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// TLSVersion is a version number of crypto/tls, written 1.2 or 1.3.
type TLSVersion uint16

// parsers are the types that are written as one text.
var parsers = map[reflect.Type]func(string) (any, error){
	reflect.TypeFor[string]():        func(s string) (any, error) { return s, nil },
	reflect.TypeFor[[]byte]():        func(s string) (any, error) { return decodeSecret(s) },
	reflect.TypeFor[time.Duration](): func(s string) (any, error) { return parseDuration(s) },
	reflect.TypeFor[netip.Prefix]():  func(s string) (any, error) { return parseNetwork(s) },
	reflect.TypeFor[TLSVersion]():    func(s string) (any, error) { return parseTLSVersion(s) },
	reflect.TypeFor[slog.Level]():    func(s string) (any, error) { return parseLevel(s) },
}

// isLeaf reports whether a type is written as one YAML scalar.
func isLeaf(t reflect.Type) bool {
	if _, ok := parsers[t]; ok {
		return true
	}
	return t.Kind() == reflect.Bool || t.Kind() == reflect.Int || t.Kind() == reflect.Float64
}

// leaf turns a scalar into a value of type t. A text takes the scalar as it is
// written, so that 0123 or 1.10 need no quotes.
func (w *walker) leaf(n *yaml.Node, t reflect.Type, at place) (any, bool) {
	if n.Kind != yaml.ScalarNode {
		w.problem(at.path, "wants %s, not %s", wanted(t), describe(n))
		return nil, false
	}
	n, ok := w.expanded(n, at)
	if !ok {
		return nil, false
	}
	parse, ok := parsers[t]
	if !ok {
		return w.plain(n, t, at)
	}
	if t == reflect.TypeFor[time.Duration]() && n.ShortTag() == "!!int" && at.options.seconds {
		return w.value(&yaml.Node{Kind: yaml.ScalarNode, Value: n.Value + "s"}, t, at)
	}
	if t == reflect.TypeFor[time.Duration]() && at.options.zero && isZero(n.Value) {
		return time.Duration(0), true
	}
	value, err := parse(n.Value)
	if err != nil {
		w.problem(at.path, "%v", err)
		return nil, false
	}
	return value, true
}

// expanded replaces the variables of a scalar. One that was expanded has the
// type that its new text would have without quotes.
func (w *walker) expanded(n *yaml.Node, at place) (*yaml.Node, bool) {
	if !at.expand || !strings.Contains(n.Value, "$") {
		return n, true
	}
	text, err := expand(n.Value, w.outside.Env)
	if err != nil {
		w.problem(at.path, "%v", err)
		return nil, false
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: text}, true
}

// plain decodes truth values and numbers.
func (w *walker) plain(n *yaml.Node, t reflect.Type, at place) (any, bool) {
	fits := n.ShortTag() == map[reflect.Kind]string{reflect.Bool: "!!bool", reflect.Int: "!!int", reflect.Float64: "!!float"}[t.Kind()] ||
		t.Kind() == reflect.Float64 && n.ShortTag() == "!!int"
	value := reflect.New(t)
	if !fits || n.Decode(value.Interface()) != nil {
		w.problem(at.path, "wants %s, not %s", wanted(t), describe(n))
		return nil, false
	}
	return value.Elem().Interface(), true
}

func wanted(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Bool:
		return "true or false (without quotes)"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 90s, 10m or 24h"
	default:
		return "one text"
	}
}

// isZero reports whether a duration is written that is zero, with or without a unit.
func isZero(s string) bool {
	d, err := time.ParseDuration(s)
	return err == nil && d == 0
}

// parseDuration reads Go's durations. Where nothing else is said, zero and less are
// never what is meant.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("wants a duration above zero with its unit, such as 90s, 10m or 24h (there is no unit for days)")
	}
	return d, nil
}

// parseNetwork reads a network in CIDR form, or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p != p.Masked() {
		return netip.Prefix{}, errors.New("wants an address such as 10.0.0.7, or a network such as 10.0.0.0/8 or fd00::/8 whose host bits are zero")
	}
	return p, nil
}

func parseTLSVersion(s string) (TLSVersion, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, errors.New("wants 1.2 or 1.3 (RFC 8996 ends the older versions)")
}

func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("wants debug, info, warn or error")
}
