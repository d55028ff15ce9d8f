package local

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// checkOwner is an error where engines have files in the data directory that belong to
// another user than uid, as after a start by root: what NATS cannot read, it takes for lost.
// Root reads everything.
func checkOwner(dir string, uid int) error {
	if uid == 0 {
		return nil
	}
	for _, name := range []string{"lock", "logs", natsFolder, clusterFolder, "postgres", "clickhouse"} {
		if err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
			var info fs.FileInfo
			if d != nil { // it is there
				info, err = d.Info()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != uid {
				return fmt.Errorf("%s belongs to user %d, and not to you, as after a start by root: `sudo chown -R %d %s` gives you all of it, or choose another with --data-dir", path, owner, uid, dir)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
