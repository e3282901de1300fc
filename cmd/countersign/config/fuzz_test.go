package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/e2e/fuzz"
)

// Whatever the file is, Parse returns a checked Config or problems to show, and
// neither panics nor runs away.
func FuzzParse(f *testing.F) {
	fuzz.Widely(f)
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			if strings.Contains(file, "itself") || strings.Contains(file, "bomb") {
				continue // they use the whole budget, and so would all that is made of them
			}
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parse(text)
		if err == nil {
			if cfg.Issuer == "" || cfg.Signer.Local == nil || (cfg.Storage.SQLite3 == nil) == (cfg.Storage.Postgres == nil) {
				t.Errorf("accepted an incomplete configuration: %+v", cfg)
			}
			return
		}
		var bad *config.Error
		if !errors.As(err, &bad) || len(bad.Problems) == 0 || err.Error() == "" {
			t.Errorf("error without problems: %#v", err)
		}
		for _, p := range bad.Problems {
			if p.Message == "" || p.Line < 0 {
				t.Errorf("problem without message or place: %+v", p)
			}
		}
	})
}
