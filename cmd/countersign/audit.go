package main

import (
	"fmt"
	"io"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/server/audit"
)

// auditOutput is where audit records go: nil when there are none. A file that
// cannot be written is an error; close it at the end.
func auditOutput(cfg config.Audit, stdout io.Writer) (output io.Writer, closeFile func() error, err error) {
	nothing := func() error { return nil }
	switch {
	case !cfg.Enabled:
		return nil, nothing, nil
	case cfg.File == config.StandardOutput:
		return stdout, nothing, nil
	}
	file, err := audit.OpenFile(cfg.File, time.Now)
	if err != nil {
		return nil, nothing, fmt.Errorf("audit.file: %w", err)
	}
	return file, file.Close, nil
}
