package chserver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// begin notes that an engine runs on the data. If the one before did not end orderly, what it
// knew of insert_deduplication_token goes: a token may stand for a part whose files could not be
// written (see errWrite), and which the engine takes away when it starts. The block that is sent
// again with that token would be acknowledged and be nowhere. Without it a block may be there
// twice, if its answer got lost just then, until a ReplacingMergeTree has merged.
func (c Config) begin() error {
	f, err := os.OpenFile(c.running(), os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	logs, err := fs.Glob(os.DirFS(c.Path), "store/*/*/deduplication_logs") // the path may have a [
	for _, dir := range logs {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.Path, dir)))
	}
	return err
}

// ended notes that the engine ended orderly.
func (c Config) ended() error { return os.Remove(c.running()) }

func (c Config) running() string { return filepath.Join(c.Path, "ponix.running") }
