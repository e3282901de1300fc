package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

// contentTypes are the kinds of files that are served. Scripts are not among
// them: no page could run one.
var contentTypes = map[string]string{
	".css":   "text/css; charset=utf-8",
	".gif":   "image/gif",
	".ico":   "image/x-icon",
	".jpeg":  "image/jpeg",
	".jpg":   "image/jpeg",
	".png":   "image/png",
	".svg":   "image/svg+xml",
	".webp":  "image/webp",
	".woff2": "font/woff2",
}

var validAssetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString

// asset is one file under /static/, in memory.
type asset struct {
	content     []byte
	contentType string
	etag        string
	// forever: the name has the hash of the content in it.
	forever bool
}

// assets are all of them, under two names each: with the hash of the content,
// which the pages use and browsers may keep for good, and plain, for stylesheets
// of the operator that refer to their neighbours.
type assets struct {
	prefix string
	files  map[string]asset
	hashed map[string]string // plain name -> hashed name
	fonts  bool
}

func newAssets(prefix string, contents map[string][]byte) assets {
	a := assets{prefix: prefix, files: map[string]asset{}, hashed: map[string]string{}}
	for name, content := range contents {
		sum := sha256.Sum256(content)
		hash, ext := hex.EncodeToString(sum[:8]), path.Ext(name)
		file := asset{content: content, contentType: contentTypes[ext], etag: `"` + hash + `"`}
		a.files[name] = file
		file.forever = true
		a.hashed[name] = strings.TrimSuffix(name, ext) + "." + hash + ext
		a.files[a.hashed[name]] = file
		a.fonts = a.fonts || ext == ".woff2"
	}
	return a
}

// url returns the address of the file with that plain name.
func (a assets) url(name string) (string, error) {
	hashed, ok := a.hashed[name]
	if !ok {
		return "", fmt.Errorf("no static file is named %q", name)
	}
	return a.prefix + hashed, nil
}

// Static serves GET and HEAD of BasePath/static/NAME.
func (s *Site) Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Headers(w.Header(), Policy{})
		name, ok := strings.CutPrefix(r.URL.Path, s.assets.prefix)
		file, found := s.assets.files[name]
		if !ok || !found {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		if file.forever {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		w.Header().Set("Content-Type", file.contentType)
		w.Header().Set("ETag", file.etag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(file.content))
	})
}
