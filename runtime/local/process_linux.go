package local

import "syscall"

// tied is what makes a child die with this process. It leads a process group of its own, so that
// the terminal's Ctrl-C reaches it only through Stop.
func tied(onDeath syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
}

// asUser makes the child run as another user that may still reach every file, by way of the
// capability numbers of linux/capability.h.
func asUser(attr *syscall.SysProcAttr, uid, gid uint32, reachAll bool) {
	const dacOverride, dacReadSearch = 1, 2
	attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	if reachAll {
		attr.AmbientCaps = []uintptr{dacOverride, dacReadSearch}
	}
}
