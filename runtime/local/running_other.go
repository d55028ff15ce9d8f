//go:build unix && !linux

package local

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// runsIn says that process pid is a PostgreSQL server on dir: a pid alone may long be another
// program's.
func runsIn(pid int, dir string) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	command, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(command), "-D "+dir)
}
