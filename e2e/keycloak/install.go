package keycloak

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is the release that the tests run, and checksum the SHA-256 of its
// distribution, as Maven Central has it.
const (
	Version  = "26.7.3"
	checksum = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
)

const (
	artifact = "org.keycloak:keycloak-quarkus-dist:" + Version + ":tar.gz"
	maven    = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
)

// bounds of the distribution, in bytes: it has 188 MB.
const (
	maxFile = 512 << 20
	maxAll  = 1 << 30
)

// home is where the release is kept: in the cache of whoever runs the tests.
func home() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a folder to keep Keycloak in: %w", err)
	}
	return filepath.Join(cache, "countersign-tests", "keycloak-"+Version), nil
}

// install returns where Keycloak is, and puts it there first if it is not. Who
// comes second finds what the first has put there.
func install(ctx context.Context) (string, error) {
	dir, err := home()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := prepare(ctx, temp); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(temp, "keycloak-"+Version), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", err
		}
	}
	return dir, nil
}

// prepare fetches, unpacks and builds a release in a folder.
func prepare(ctx context.Context, dir string) error {
	file, err := fetch(ctx, dir)
	if err != nil {
		return fmt.Errorf("fetching %s with Maven (Debian: apt-get install maven): %w", artifact, err)
	}
	if err := unpack(file, dir); err != nil {
		return fmt.Errorf("unpacking Keycloak: %w", err)
	}
	// What is decided at build time, so that it need not be at each start.
	return run(ctx, filepath.Join(dir, "keycloak-"+Version, "bin", "kc.sh"), "build", "--db=dev-mem", "--cache=local")
}

// fetch lets Maven fetch the release from wherever it is set up to, into folders
// that go away, and believes it by its checksum.
func fetch(ctx context.Context, dir string) (file string, err error) {
	err = run(ctx, "mvn", "--batch-mode", "--quiet", "-Dmaven.repo.local="+filepath.Join(dir, "repository"),
		maven, "-Dartifact="+artifact, "-DoutputDirectory="+dir)
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "keycloak-quarkus-dist-"+Version+".tar.gz")
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != checksum {
		return "", fmt.Errorf("its SHA-256 is %s, not %s", sum, checksum)
	}
	return file, nil
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return nil
}

// unpack writes the files of a tar.gz below a folder.
func unpack(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // nothing is written elsewhere
	if err != nil {
		return err
	}
	defer root.Close()
	for archive := tar.NewReader(io.LimitReader(zipped, maxAll)); ; {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := write(root, entry, archive); err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
	}
}

func write(root *os.Root, entry *tar.Header, content io.Reader) error {
	name := filepath.Clean(strings.TrimSuffix(entry.Name, "/"))
	switch entry.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
	default:
		return fmt.Errorf("it is of type %q", entry.Typeflag)
	}
	if entry.Size > maxFile {
		return fmt.Errorf("it has %d bytes", entry.Size)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, entry.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
