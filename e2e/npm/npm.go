// Package npm installs packages of Node.js for tests, as a package-lock.json pins
// them.
//
// It refuses to skip: without npm, the test fails.
//
// Threat: what is installed is what the hashes of the lock file say, and no script of
// a package runs at installation.
package npm

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
)

// Install calls `npm ci` in a folder with a package-lock.json, unless what it locks is
// installed. Tests of several packages may come here at once; one installs, the others
// wait.
func Install(folder string) error {
	lock, err := lockFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	defer lock.Close()
	wanted, err := hashes(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	if got, err := hashes(filepath.Join(folder, "node_modules", ".package-lock.json")); err == nil && maps.Equal(got, wanted) {
		return nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("this test needs npm, which is not on PATH (Debian: apt-get install npm): %w", err)
	}
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}

// hashes are those of a lock file, by where a package is installed.
func hashes(lockFile string) (map[string]string, error) {
	content, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		return nil, fmt.Errorf("reading %s: %w", lockFile, err)
	}
	of := make(map[string]string)
	for path, p := range lock.Packages {
		if path != "" { // the folder itself
			of[path] = p.Integrity
		}
	}
	return of, nil
}
