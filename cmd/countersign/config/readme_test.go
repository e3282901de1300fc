package config_test

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connector/connectortest"
)

// What the README shows of connectors can be used as it stands, but for the files and
// variables, which are not here.
func TestReadmeConnectors(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"":      []byte("a secret of some length"),
		".json": connectortest.NewWorkspace(t, time.Now).KeyFile(t),
	}
	count := 0
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if strings.HasPrefix(block, "    - type: oidc\n") {
			block = "    connectors:\n" + block
		}
		if !strings.HasPrefix(block, "    connectors:\n") {
			continue
		}
		count++
		yaml := "issuer: https://login.example.com\nweb: {http: 127.0.0.1:5556}\n" + strings.ReplaceAll(block[4:], "\n    ", "\n")
		_, err := config.Parse("README.md", []byte(yaml), config.Outside{
			Env:      func(string) (string, bool) { return "a secret of some length", true },
			ReadFile: func(name string) ([]byte, error) { return files[path.Ext(name)], nil },
			Stat:     func(string) (fs.FileInfo, error) { return os.Stat("testdata") },
		})
		if err != nil {
			t.Errorf("%v\n%s", err, yaml)
		}
	}
	if count < 9 { // of these types: seven of OpenID providers, two of GitHub
		t.Errorf("found %d connectors only", count)
	}
}
