package web_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/countersign/countersign/server/web"
)

func newSite(t *testing.T, config web.Config) *web.Site {
	t.Helper()
	site, err := web.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// show renders a page to a browser that wants English.
func show(t *testing.T, site *web.Site, p web.Page, opt web.PageOptions) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	site.Page(w, httptest.NewRequest(http.MethodGet, "/dex/page", nil), http.StatusOK, p, opt)
	return w.Result()
}

// document parses the page as a browser does.
func document(t *testing.T, res *http.Response) *html.Node {
	t.Helper()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	root, err := html.Parse(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// elements returns the elements with a tag, in the order of the document.
func elements(root *html.Node, tag string) []*html.Node {
	var found []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag {
			found = append(found, n)
		}
	}
	return found
}

// attr returns the value of an attribute, and whether it is there.
func attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// content is the text of an element with its spaces collapsed.
func content(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// folder writes files into a folder of the test.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
