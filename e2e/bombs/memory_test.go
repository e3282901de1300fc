package bombs_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// memory is that of the program, as Linux counts it: proc(5), /proc/PID/status.
func (w *world) memory(name string) int {
	w.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.server.PID()))
	if err != nil {
		w.t.Fatal(err)
	}
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		w.t.Fatalf("there is no %s in:\n%s", name, status)
	}
	kB, err := strconv.Atoi(string(found[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	return kB << 10
}

// forget begins the measurement of the peak anew, and returns what is in use.
func (w *world) forget() int {
	w.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.server.PID()), []byte("5"), 0); err != nil {
		w.t.Fatal(err)
	}
	return w.memory("VmRSS")
}

// peak is the most that was in use since forget.
func (w *world) peak() int {
	w.t.Helper()
	return w.memory("VmHWM")
}
