//go:build unix && !linux

package local

import "syscall"

// tied gives the child a process group of its own, so that the terminal's Ctrl-C reaches it only
// through Stop. These systems have no parent-death signal: ClickHouse watches its standard input
// instead, and a PostgreSQL left behind is stopped by the next start.
func tied(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// asUser makes the child run as another user, which must be able to reach its files.
func asUser(attr *syscall.SysProcAttr, uid, gid uint32, _ bool) {
	attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
}
