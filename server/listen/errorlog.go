package listen

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// operatorLines begin the messages of net/http that are about us. All others
// (failed handshakes, odd requests) are for strangers to cause at will, as often
// as they like.
var operatorLines = [][]byte{
	[]byte("http: Accept error"),
	[]byte("http: panic serving"),
	[]byte("http2: panic serving"),
	[]byte("http: superfluous"),
}

// errorLog takes what net/http has to say, and shows the operator what is for
// the operator; the rest is logged at debug.
func errorLog(logger *slog.Logger) *log.Logger {
	return log.New(serverLines{logger}, "", 0)
}

type serverLines struct{ logger *slog.Logger }

// Write takes one line. net/http has no other interface than its text.
func (s serverLines) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	for _, prefix := range operatorLines {
		if bytes.HasPrefix(line, prefix) {
			level = slog.LevelWarn
		}
	}
	s.logger.Log(context.Background(), level, "http server", "line", string(bytes.TrimSpace(line)))
	return len(line), nil
}
