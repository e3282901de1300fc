package config_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/countersign/countersign/cmd/countersign/config"
)

// What the README shows of connectors can be used as it stands, but for the files and
// variables, which are not here.
func TestReadmeConnectors(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.HasPrefix(block, "    connectors:\n") {
			continue
		}
		count++
		yaml := "issuer: https://login.example.com\nweb: {http: 127.0.0.1:5556}\n" + strings.ReplaceAll(block[4:], "\n    ", "\n")
		_, err := config.Parse("README.md", []byte(yaml), config.Outside{
			Env:      func(string) (string, bool) { return "a secret of some length", true },
			ReadFile: func(string) ([]byte, error) { return []byte("a secret of some length"), nil },
			Stat:     func(string) (fs.FileInfo, error) { return os.Stat("testdata") },
		})
		if err != nil {
			t.Errorf("%v\n%s", err, yaml)
		}
	}
	if count < 2 {
		t.Errorf("found %d connectors only", count)
	}
}
