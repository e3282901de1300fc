package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxFileBytes bounds the configuration file and every file it names.
	maxFileBytes = 1 << 20
	// maxNodes bounds how many YAML nodes are looked at, aliases followed. A file
	// of maxFileBytes without aliases stays below it in any real use; a file that
	// refers to itself over and over ("YAML bomb") does not.
	maxNodes = 200_000
)

// readFile returns a file of at most maxFileBytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if outer := (*fs.PathError)(nil); errors.As(err, &outer) {
		return nil, outer.Err // without the path, which the message has
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("it is a folder")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFileBytes)
	}
	return data, nil
}

// parseDocument returns the one mapping that the file is, or reports why not.
// An empty file is an empty mapping: what it lacks is reported by the checks.
func parseDocument(data []byte, r *report) *yaml.Node {
	empty := &yaml.Node{Kind: yaml.MappingNode}
	if len(data) > maxFileBytes {
		r.add("", 0, "is larger than %d bytes", maxFileBytes)
		return empty
	}
	lines := bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n")) + 1
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return empty
	} else if err != nil {
		r.syntax(err, lines)
		return empty
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.add("", second.Line, "a second YAML document begins here: a configuration is one document, remove the line ---")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err, lines)
	}
	root := doc.Content[0]
	if isNull(root) {
		return empty
	}
	if root.Kind != yaml.MappingNode {
		r.add("", root.Line, "a configuration is a list of keys with values, such as \"issuer: https://login.example.com\", not %s", describe(root))
	}
	return root
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax reports what the YAML parser said, with the line it names.
func (r *report) syntax(err error, lines int) {
	message := err.Error()
	line := 0
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = strings.TrimPrefix(message, m[0])
		line, _ = strconv.Atoi(m[1]) // absent: 0, no line
	}
	if strings.HasPrefix(message, "did not find expected") {
		// The library counts the lines of these messages from 0, and the end of
		// the file as one more line.
		line = min(line+1, lines)
	}
	if strings.Contains(message, "cannot start any token") {
		message += " (YAML is indented with spaces, never with tabs)"
	}
	r.add("", line, "is not valid YAML: %s", message)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe names what stands at a node. A text is not repeated: it may be a
// secret in the wrong place.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!int":
		return "a whole number"
	case n.ShortTag() == "!!float":
		return "a number with a fraction"
	case n.ShortTag() == "!!bool":
		return "true or false"
	default:
		return "a text"
	}
}
