package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object walks a mapping whose keys are those of a struct. Keys are accepted in
// any case, as Dex does.
func (w *walker) object(n *yaml.Node, t reflect.Type, at place) (map[string]any, bool) {
	n = w.follow(n)
	if n.Kind != yaml.MappingNode {
		w.problem(at.path, "wants keys with values, not %s", describe(n))
		return nil, false
	}
	s := schemaOf(t)
	out := make(map[string]any)
	var variant *pair
	for _, p := range w.pairs(n, at.path, strings.ToLower) {
		k, known := s.keys[strings.ToLower(p.key)]
		switch {
		case !known:
			w.unknown(p, s, at.path)
		case k.source == fromVariant:
			w.at(join(at.path, "config"), p.line)
			variant = &p
		default:
			w.key(p, k, at, out)
		}
	}
	if len(s.variants) > 0 {
		w.variant(variant, s, at.path, out)
	}
	return out, true
}

// unknown reports a key that the struct does not have.
func (w *walker) unknown(p pair, s schema, path string) {
	where := join(path, p.key)
	if advice, ok := dexKey(where); ok {
		w.add(where, p.line, "is known from Dex, but not supported by this version: %s", advice)
		return
	}
	w.add(where, p.line, "is not a key%s", whatInstead(where, p.key, s.names()))
}

// whatInstead is the end of a message about an unknown key: it was misspelt, or
// stands at the wrong place.
func whatInstead(where, got string, valid []string) string {
	places := elsewhere(got)
	switch {
	case nearest(got, valid) != "" || len(places) == 0 || len(places) > 3:
		return didYouMean(got, valid)
	case slices.Contains(places, position.ReplaceAllString(where, "[]")):
		return " of this type; valid here: " + strings.Join(valid, ", ")
	default:
		return " here; its place is " + strings.Join(places, " or ")
	}
}

// key sets one key of a struct from its value, a variable or a file.
func (w *walker) key(p pair, k key, at place, out map[string]any) {
	path, target := join(at.path, k.name), join(at.path, k.target)
	w.at(path, p.line)
	w.at(target, p.line)
	if first, taken := w.spelt[target]; taken {
		w.problem(path, "is given beside %s: keep one of them", first[strings.LastIndex(first, ".")+1:])
		return
	}
	w.spelt[target] = path
	at.path, at.options = path, k.options
	at.expand = at.expand && !k.options.literal
	value, ok := w.sourcedValue(p, k, at)
	if ok {
		out[k.target] = value
		return
	}
	if isNull(w.follow(p.value)) && k.source == fromValue {
		delete(w.lines, path) // as if it were not there
		delete(w.spelt, target)
		return
	}
	w.bad[target] = true
}

func (w *walker) sourcedValue(p pair, k key, at place) (any, bool) {
	if k.source == fromValue {
		return w.value(p.value, k.typ, at)
	}
	name, ok := w.value(p.value, reflect.TypeFor[string](), at)
	if !ok || name == "" {
		w.problem(at.path, "is empty: name %s, or remove the key", map[source]string{fromEnv: "an environment variable", fromFile: "a file"}[k.source])
		return nil, false
	}
	text, err := w.fetch(name.(string), k.source)
	if err != nil {
		w.problem(at.path, "%v", err)
		return nil, false
	}
	return text, true
}

// fetch reads a value from a variable or a file. A newline at the end of a file
// is dropped, since most editors put one there.
func (w *walker) fetch(name string, from source) (string, error) {
	if from == fromEnv {
		return lookup(name, w.outside.Env)
	}
	data, err := w.outside.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("the file %q cannot be read: %w", name, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("the file %q is empty", name)
	}
	return text, nil
}

// variant walks the key "config" with the struct that "type" asks for.
func (w *walker) variant(config *pair, s schema, path string, out map[string]any) {
	typ, _ := out["type"].(string)
	k, known := s.variants[typ]
	switch {
	case known:
		out["type"] = k.target
		inner := map[string]any{}
		if config != nil {
			if v, ok := w.value(config.value, k.typ, place{path: join(path, "config"), expand: true}); ok {
				inner = v.(map[string]any)
			}
		}
		out[k.target] = inner
	case typ == "" && config == nil && !w.given(join(path, "type")):
		// Nothing is said: the check of the block knows whether that is enough.
	case typ == "":
		w.problem(join(path, "type"), "is missing: give one of %s", strings.Join(s.types(), ", "))
	case dexType(path, typ) && dexInstead[typ] != "":
		w.problem(join(path, "type"), "%q is known from Dex; write %s", typ, dexInstead[typ])
	case dexType(path, typ):
		w.problem(join(path, "type"), "%q is known from Dex, but not supported by this version; supported: %s", typ, strings.Join(s.types(), ", "))
	default:
		w.problem(join(path, "type"), "%q is not a type%s", typ, didYouMean(typ, s.types()))
	}
}
