package config

import "log/slog"

// Logger is how the log is written, to standard error.
type Logger struct {
	// Level is debug, info, warn or error. Default: info.
	Level slog.Level `mapstructure:"level"`
	// Format is text or json. Default: text.
	Format string `mapstructure:"format"`
}

func (c *checker) logger() { c.oneOf("logger.format", c.cfg.Logger.Format, "text", "json") }
