package e2e_test

import (
	"testing"

	"github.com/countersign/countersign/e2e/script"
)

// Each script is one way the program is used, or one thing that goes wrong
// around it.
func TestScripts(t *testing.T) {
	t.Parallel()
	script.Run(t, "testdata/script")
}
