package config

import (
	"reflect"
	"slices"
	"strings"
)

// schema is the keys that a struct of the configuration accepts.
//
// The tag `config:"…"` of a field adds to what its mapstructure tag says, as a
// list separated by commas:
//
//	env, env=KEY    the value may come from the variable named under KEY
//	                (default: the field's key followed by Env)
//	file, file=KEY  the value may come from the file named under KEY (…File)
//	sources         every entry may be a text, or one of {value, env, file}
//	literal         dollar signs are never taken for variables
//	seconds         a duration that may also be a bare number of seconds
//	zero            a duration that may be 0, which turns something off
//	variant, variant=A|B
//	                the struct that the key "config" has when "type" is the
//	                field's key (or A or B); variables are expanded inside
type schema struct {
	keys     map[string]key // by lower-cased name
	variants map[string]key // by type
}

// source says where a key's value comes from.
type source int

const (
	fromValue source = iota
	fromEnv
	fromFile
	fromVariant
)

// key is one key that a struct accepts.
type key struct {
	name    string // as documented
	target  string // the key of the field that it sets
	typ     reflect.Type
	source  source
	options options
}

type options struct {
	sources, literal, seconds, zero bool
}

// schemaOf reads the schema of a struct type from its tags.
func schemaOf(t reflect.Type) schema {
	s := schema{keys: make(map[string]key), variants: make(map[string]key)}
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("mapstructure")
		if name == "-" || !f.IsExported() {
			continue
		}
		s.field(name, f)
	}
	return s
}

func (s schema) field(name string, f reflect.StructField) {
	k := key{name: name, target: name, typ: f.Type}
	variant := ""
	for option := range strings.SplitSeq(f.Tag.Get("config"), ",") {
		option, value, _ := strings.Cut(option, "=")
		switch option {
		case "env":
			s.sibling(k, orElse(value, name+"Env"), fromEnv)
		case "file":
			s.sibling(k, orElse(value, name+"File"), fromFile)
		case "sources":
			k.options.sources = true
		case "literal":
			k.options.literal = true
		case "seconds":
			k.options.seconds = true
		case "zero":
			k.options.zero = true
		case "variant":
			variant = orElse(value, name)
		}
	}
	if variant == "" {
		s.keys[strings.ToLower(name)] = k
		return
	}
	for v := range strings.SplitSeq(variant, "|") {
		s.variants[v] = k
	}
	s.keys["config"] = key{name: "config", target: "config", source: fromVariant}
}

func (s schema) sibling(k key, name string, from source) {
	k.name, k.source = name, from
	s.keys[strings.ToLower(name)] = k
}

// names are the documented names of all keys, in alphabetical order.
func (s schema) names() []string {
	var names []string
	for _, k := range s.keys {
		names = append(names, k.name)
	}
	slices.Sort(names)
	return names
}

// types are the values that the key "type" may have.
func (s schema) types() []string {
	var types []string
	for t := range s.variants {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
