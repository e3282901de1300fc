package script

import (
	"strconv"

	"github.com/countersign/countersign/storage/storagetest/freeport"
)

func (w *world) freePorts(args []string) error {
	for _, name := range args {
		port, err := freeport.Find()
		if err != nil {
			return err
		}
		w.ts.Setenv(name, strconv.Itoa(port))
	}
	return nil
}
