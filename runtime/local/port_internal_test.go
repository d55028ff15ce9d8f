package local

import (
	"slices"
	"testing"
)

// TestFreePorts holds that no two of many ports are the same: of so many that are asked for one
// after the other some are.
func TestFreePorts(t *testing.T) {
	t.Parallel()
	const n = 500
	ports, err := freePorts("127.0.0.1", make([]int, n), "", "")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if all := len(slices.Compact(ports)); all != n {
		t.Errorf("%d of %d ports are different", all, n)
	}
}
