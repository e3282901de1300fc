package github

import (
	"bytes"
	"compress/flate"
	"container/list"
	"io"
	"net/http"
	"sync"
)

// maxCache bounds the memory of a cache, in bytes. A list of 100 teams takes about
// 20 KB compressed.
const maxCache = 64 << 20

// entryCost is what an entry takes besides what is in it, about.
const entryCost = 512

// cache knows answers by token and address. The least recently used go first.
type cache struct {
	max int // bytes

	mu    sync.Mutex
	of    map[key]*list.Element
	order list.List // of *entry, the least recently used last
	size  int
}

// entry is an answer with an ETag.
type entry struct {
	key                      key
	etag, contentType, links string
	packed                   []byte
	size                     int // of what is packed
}

func newEntry(h http.Header, body []byte) *entry {
	e := &entry{etag: h.Get("ETag"), contentType: h.Get("Content-Type"), links: h.Get("Link"), size: len(body)}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(body)
	}
	if err != nil || w.Close() != nil { // a buffer takes everything
		return nil
	}
	e.packed = b.Bytes()
	return e
}

// answer is the whole answer, to who was told that nothing has changed.
func (e *entry) answer(resp *http.Response) (*http.Response, error) {
	body := make([]byte, e.size)
	if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(e.packed)), body); err != nil {
		return nil, err
	}
	resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	resp.Header.Set("Content-Type", e.contentType)
	resp.Header.Del("Link")
	if e.links != "" {
		resp.Header.Set("Link", e.links)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

func (e *entry) cost() int {
	return entryCost + len(e.etag) + len(e.contentType) + len(e.links) + len(e.packed)
}

func (c *cache) get(k key) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.of[k]
	if !ok {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*entry)
}

func (c *cache) put(k key, e *entry) {
	if e == nil {
		return
	}
	e.key = k
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[key]*list.Element)
	}
	c.drop(c.of[k])
	c.of[k] = c.order.PushFront(e)
	for c.size += e.cost(); c.size > c.max; {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(at *list.Element) {
	if at == nil {
		return
	}
	e := c.order.Remove(at).(*entry)
	delete(c.of, e.key)
	c.size -= e.cost()
}
