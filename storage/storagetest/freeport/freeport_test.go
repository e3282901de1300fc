package freeport_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

// Nobody gets a port twice: not here, and not in another process.
func TestFind(t *testing.T) {
	if os.Getenv("FREEPORT_CHILD") != "" {
		for range 50 {
			port, err := freeport.Find()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println("port", port)
		}
		return
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	note := func(port string) {
		mu.Lock()
		defer mu.Unlock()
		if seen[port] {
			t.Errorf("port %s was given twice", port)
		}
		seen[port] = true
	}
	for range 200 {
		port, err := freeport.Find()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatalf("port %d is not free: %v", port, err)
		}
		l.Close()
		note(fmt.Sprint(port))
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFind$")
	child.Env = append(os.Environ(), "FREEPORT_CHILD=1")
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if port, ok := strings.CutPrefix(strings.TrimSpace(line), "port "); ok {
			note(port)
		}
	}
	if len(seen) != 250 {
		t.Errorf("%d ports", len(seen))
	}
}
