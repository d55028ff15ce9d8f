package local

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// nobodyID is the user and group that has no rights, where the system does not name it.
const nobodyID = 65534

// serverAccount is this process's user, and nobody when that is root.
func serverAccount() account {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}
	}
	a := account{other: true, uid: nobodyID, gid: nobodyID}
	if nobody, err := user.Lookup("nobody"); err == nil {
		uid, uidErr := strconv.Atoi(nobody.Uid)
		gid, gidErr := strconv.Atoi(nobody.Gid)
		if uidErr == nil && gidErr == nil {
			a.uid, a.gid = uid, gid
		}
	}
	return a
}

// run starts a child as the account. It first lets the child reach every file, so that data and
// binaries may lie below a home directory that is closed to others; where the system forbids
// that, the child has to do without.
func (a account) run(start func(*syscall.SysProcAttr) (*process, error), onDeath syscall.Signal) (*process, error) {
	if !a.other {
		return start(tied(onDeath))
	}
	var err error
	for _, reachAll := range []bool{true, false} {
		attr := tied(onDeath)
		asUser(attr, uint32(a.uid), uint32(a.gid), reachAll)
		var p *process
		if p, err = start(attr); err == nil {
			return p, nil
		}
		if !errors.Is(err, syscall.EPERM) {
			break
		}
	}
	return nil, fmt.Errorf("%w (PostgreSQL does not run as root, so it is started as user %d, which must be able to read its binaries "+
		"and to reach the data directory; PONIX_CACHE_DIR and --data-dir choose other places, or run as an ordinary user)", err, a.uid)
}
