package local

import (
	"bytes"
	"io"
	"os"
	"strings"
)

const (
	maxLog  = 10 << 20 // bytes of a log that is still appended to
	tailLog = 8 << 10  // bytes looked at for an error
	tailMax = 15       // lines shown in an error
)

// openLog opens an engine's log to append to; one that has grown large becomes path.old.
// It returns where in the file this run begins.
func openLog(path string) (file *os.File, start int64, err error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, 0, err
		}
	}
	file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, 0, err
	}
	start, err = file.Seek(0, io.SeekEnd)
	return file, start, err
}

// logTail returns the last lines written since start.
func logTail(path string, start int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil {
		start = max(start, info.Size()-tailLog)
	}
	text := make([]byte, tailLog)
	n, _ := file.ReadAt(text, start)
	lines := strings.Split(string(bytes.TrimSpace(text[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-tailMax):], "\n")
}
