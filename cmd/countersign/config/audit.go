package config

// Audit is where the records of who did what go.
type Audit struct {
	// Enabled is whether there are any. Default: true.
	Enabled bool `mapstructure:"enabled"`
	// File is appended to, and opened anew when it was moved. Default: "-", which
	// is standard output.
	File string `mapstructure:"file"`
}

// StandardOutput is the Audit.File that is none.
const StandardOutput = "-"

func (c *checker) audit() { c.notEmpty("audit.file", c.cfg.Audit.File) }
