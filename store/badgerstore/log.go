package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logger passes Badger's messages on. What it calls information is of use to
// those who debug it.
type logger struct{ *slog.Logger }

func (l logger) Errorf(format string, v ...any)   { l.log(slog.LevelError, format, v) }
func (l logger) Warningf(format string, v ...any) { l.log(slog.LevelWarn, format, v) }
func (l logger) Infof(format string, v ...any)    { l.log(slog.LevelDebug, format, v) }

// Debugf is called several times for each commit and says nothing of use.
func (l logger) Debugf(string, ...any) {}

func (l logger) log(level slog.Level, format string, v []any) {
	if !l.Enabled(context.Background(), level) {
		return
	}
	if text := strings.TrimSpace(fmt.Sprintf(format, v...)); text != "" {
		l.Log(context.Background(), level, "badger: "+text)
	}
}
