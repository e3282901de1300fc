package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// didYouMean is the end of a message about an unknown name: the nearest valid
// one, or all of them when none is near.
func didYouMean(got string, valid []string) string {
	if near := nearest(got, valid); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; valid here: " + strings.Join(valid, ", ")
}

// nearest is the valid name with the least edit distance, when that is small
// enough to be a slip.
func nearest(got string, valid []string) string {
	got = strings.ToLower(got)
	best, least := "", max(1, min(len(got)/3, 4))+1
	for _, v := range valid {
		if d := distance(got, strings.ToLower(v)); d < least {
			best, least = v, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 { // a key that long is no slip, and the table is quadratic
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// elsewhere returns the paths at which a key of this name is valid: it may only
// stand at the wrong place.
func elsewhere(name string) []string {
	var found []string
	visit(reflect.TypeFor[Config](), "", func(path string, k key) {
		if strings.EqualFold(k.name, name) {
			found = append(found, path)
		}
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// visit calls f for every key that the configuration accepts, with its path:
// list entries as [], the configs of variants all under config.
func visit(t reflect.Type, path string, f func(path string, k key)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || isLeaf(t) {
		return
	}
	s := schemaOf(t)
	for _, k := range s.keys {
		p := join(path, k.name)
		f(p, k)
		if k.source == fromValue {
			visit(k.typ, p, f)
		}
	}
	for _, k := range s.variants {
		visit(k.typ, join(path, "config"), f)
	}
}
