package script

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// taken are the ports given out by this process.
var taken sync.Map

// freePorts looks below the range that the system gives out by itself (32768 and
// up on Linux), so that no outgoing connection takes a port between here and the
// program that is to listen on it.
func (w *world) freePorts(args []string) error {
	for _, name := range args {
		port, err := FreePort()
		if err != nil {
			return err
		}
		w.ts.Setenv(name, strconv.Itoa(port))
	}
	return nil
}

// FreePort returns a port that nobody listens on, and that no other caller gets.
func FreePort() (int, error) {
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if _, given := taken.LoadOrStore(port, true); given {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no port is free")
}
