package config

import (
	"reflect"

	"go.yaml.in/yaml/v3"
)

// walker follows the YAML nodes along the types of Config and turns them into
// values that fit, reporting what does not. The types bound its depth, the
// budget bounds its breadth, also through aliases.
type walker struct {
	*report
	outside Outside
	budget  int
}

// place is where the walker stands.
type place struct {
	path string
	// expand: inside a config block, where $NAME is a variable.
	expand  bool
	options options
}

// root walks the whole document.
func (w *walker) root(n *yaml.Node) map[string]any {
	settings, _ := w.object(n, reflect.TypeFor[Config](), place{})
	if w.exhausted() {
		w.problems = nil // most of them are one entry, repeated
		w.add("", 0, "has more than %d entries when its aliases (*name) are followed; write fewer", maxNodes)
	}
	return settings
}

func (w *walker) exhausted() bool { return w.budget < 0 }

// follow returns the node that an alias stands for, and counts it.
func (w *walker) follow(n *yaml.Node) *yaml.Node {
	w.budget--
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// value turns a node into a value of type t. ok is false when it did not fit
// (reported) or there is none (null).
func (w *walker) value(n *yaml.Node, t reflect.Type, at place) (value any, ok bool) {
	n = w.follow(n)
	if w.exhausted() || isNull(n) {
		return nil, false
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return w.value(n, t.Elem(), at)
	case isLeaf(t):
		return w.leaf(n, t, at)
	case t.Kind() == reflect.Struct:
		return w.object(n, t, at)
	case t.Kind() == reflect.Slice:
		return w.list(n, t, at)
	default:
		return w.userMap(n, at)
	}
}

// list walks a list. Every entry keeps its position: one that does not fit
// becomes an empty one.
func (w *walker) list(n *yaml.Node, t reflect.Type, at place) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		w.problem(at.path, "wants a list (entries that begin with \"- \"), not %s", describe(n))
		return nil, false
	}
	entries := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		if w.exhausted() {
			break
		}
		entry := at
		entry.path = index(at.path, i)
		w.at(entry.path, item.Line)
		value, ok := w.entry(item, t.Elem(), entry)
		if !ok {
			w.problem(entry.path, "is empty: fill it in, or remove it")
			value = reflect.Zero(t.Elem()).Interface()
			if t.Elem().Kind() == reflect.Struct && !isLeaf(t.Elem()) {
				value = map[string]any{}
			}
		}
		entries = append(entries, value)
	}
	return entries, true
}

// entry is a value that may also be one of {value, env, file} where the key
// says so.
func (w *walker) entry(n *yaml.Node, t reflect.Type, at place) (any, bool) {
	if at.options.sources && w.follow(n).Kind == yaml.MappingNode {
		before := len(w.problems)
		inner, _ := w.object(n, reflect.TypeFor[sourced](), at)
		text, ok := inner["value"].(string)
		if !ok {
			if len(w.problems) == before {
				w.problem(at.path, "has no value: give one of value, env, file")
			}
			w.bad[at.path] = true
			return nil, false
		}
		at.expand = false // what came from outside is taken as it is
		return w.value(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}, t, at)
	}
	return w.value(n, t, at)
}

// sourced is the long form of an entry whose key is marked "sources".
type sourced struct {
	Value string `mapstructure:"value" config:"env=env,file=file"`
}

// userMap walks a map whose keys are the user's. Their case is kept: viper
// lower-cases the keys of map[string]any only.
func (w *walker) userMap(n *yaml.Node, at place) (any, bool) {
	if n.Kind != yaml.MappingNode {
		w.problem(at.path, "wants keys with values, not %s", describe(n))
		return nil, false
	}
	m := make(map[string]string)
	for _, p := range w.pairs(n, at.path, exactly) {
		entry := at
		entry.path = join(at.path, p.key)
		w.at(entry.path, p.line)
		value, ok := w.entry(p.value, reflect.TypeFor[string](), entry)
		if !ok {
			w.problem(entry.path, "is empty: fill it in, or remove it")
			continue
		}
		m[p.key] = value.(string)
	}
	return m, true
}

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	line  int
	value *yaml.Node
}

// exactly is how the user's own keys are compared.
func exactly(key string) string { return key }

// pairs returns the keys of a mapping, those of merge keys (<<) last and only
// where the mapping does not have them itself. fold says which keys are equal.
func (w *walker) pairs(n *yaml.Node, path string, fold func(string) string) []pair {
	seen := make(map[string]int)
	var pairs []pair
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && !w.exhausted(); i += 2 {
		k, v := w.follow(n.Content[i]), n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			w.add(path, k.Line, "has a key that is %s: a key is a word", describe(k))
		case k.ShortTag() == "!!merge":
			merged = append(merged, v)
		case seen[fold(k.Value)] > 0:
			w.add(join(path, k.Value), k.Line, "is given twice, the first time in line %d: remove one", seen[fold(k.Value)])
		default:
			seen[fold(k.Value)] = k.Line
			pairs = append(pairs, pair{key: k.Value, line: k.Line, value: v})
		}
	}
	for _, m := range merged {
		pairs = w.merge(pairs, seen, m, path, fold)
	}
	return pairs
}

// merge adds the keys of a merged mapping, or of a list of them, that are not
// there yet.
func (w *walker) merge(pairs []pair, seen map[string]int, n *yaml.Node, path string, fold func(string) string) []pair {
	n = w.follow(n)
	switch {
	case w.exhausted():
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			pairs = w.merge(pairs, seen, item, path, fold)
		}
	case n.Kind == yaml.MappingNode:
		for _, p := range w.pairs(n, path, fold) {
			if seen[fold(p.key)] == 0 {
				seen[fold(p.key)] = p.line
				pairs = append(pairs, p)
			}
		}
	default:
		w.problem(path, "merges (<<) %s: only keys with values can be merged", describe(n))
	}
	return pairs
}
