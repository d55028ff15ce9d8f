package local

import (
	"os"
	"strconv"
	"strings"
)

// runsIn says that process pid is a PostgreSQL server on dir: a pid alone may long be another
// program's. The command line of a process is readable where its other links are not.
func runsIn(pid int, dir string) bool {
	command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(command), "-D\x00"+dir+"\x00")
}
