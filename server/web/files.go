package web

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

//go:embed templates/*.html locales/*.json static
var embedded embed.FS

// files are the contents of the three folders, by file name.
type files struct {
	templates map[string][]byte
	locales   map[string][]byte
	static    map[string][]byte
	// own are the catalogues of the operator, kept apart because they need not be
	// complete where an embedded one has the same name.
	own map[string][]byte
}

// readFiles reads the embedded files and, over them, those of dir.
func readFiles(dir string) (files, error) {
	f := files{
		templates: mustRead(embedded, "templates"),
		locales:   mustRead(embedded, "locales"),
		static:    mustRead(embedded, "static"),
	}
	if dir == "" {
		return f, nil
	}
	// os.Root: a symbolic link may not lead out of the folder. Mounted
	// ConfigMaps, whose files are links within it, work.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return files{}, err
	}
	defer root.Close()
	return f, f.override(root.FS())
}

func (f *files) override(dir fs.FS) error {
	templates, err := read(dir, "templates")
	if err != nil {
		return err
	}
	for name := range templates {
		if _, known := f.templates[name]; !known {
			return fmt.Errorf("templates/%s is no template of ours; there are %s",
				name, strings.Join(slices.Sorted(maps.Keys(f.templates)), ", "))
		}
	}
	static, err := read(dir, "static")
	if err != nil {
		return err
	}
	for name := range static {
		if _, ok := contentTypes[path.Ext(name)]; !ok || !validAssetName(name) {
			return fmt.Errorf("static/%s: only %s are served, named with letters, digits, '.', '_' and '-'",
				name, strings.Join(slices.Sorted(maps.Keys(contentTypes)), ", "))
		}
	}
	maps.Copy(f.templates, templates)
	maps.Copy(f.static, static)
	f.own, err = read(dir, "locales")
	return err
}

// read returns the files directly in folder. Hidden ones are passed over (an
// editor's, or a ConfigMap mount's own links); a folder that is not there is
// empty.
func read(fsys fs.FS, folder string) (map[string][]byte, error) {
	entries, err := fs.ReadDir(fsys, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	contents := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := folder + "/" + e.Name()
		info, err := fs.Stat(fsys, name) // follows links, DirEntry does not
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a file", name)
		}
		if contents[e.Name()], err = fs.ReadFile(fsys, name); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

func mustRead(fsys fs.FS, folder string) map[string][]byte {
	contents, err := read(fsys, folder)
	if err != nil {
		panic("web: " + err.Error()) // the files are in the binary
	}
	return contents
}
