package conversion

import (
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// meter is a second account beside CEL's. CEL's counts steps after they were
// done, each list and map as one, and does not know what a call costs whose
// types are known only when it is made; so an expression may build a value that
// is exponential in its length, or ask for one long call. The meter charges a
// call before it is made, by the size of all that is in its arguments, and a
// list or a map by the size of what is in it. Therefore no value is larger, and
// no call takes longer, than the limit allows.
type meter struct {
	left     uint64
	deadline time.Time
}

// worthALook is the charge from which the meter looks at the clock.
const worthALook = 1000

// charge takes a cost. If it is more than is left, or it is late, it ends the
// evaluation in the way CEL's own account does.
func (m *meter) charge(cost uint64) {
	if cost > m.left {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "cost limit exceeded"})
	}
	m.left -= cost
	if cost >= worthALook && time.Now().After(m.deadline) {
		panic(interpreter.EvalCancelledError{Cause: interpreter.ContextCancelled, Message: "time limit exceeded"})
	}
}

// bytesPerCost is how many bytes of text cost 1, as in CEL.
const bytesPerCost = 10

func textCost(size int) uint64 { return uint64(size/bytesPerCost) + 1 }

// weight is the cost of going through all of a value, or any cost beyond most
// if it is more.
func weight(v ref.Val, most uint64) uint64 {
	switch x := v.(type) {
	case types.String:
		return textCost(len(x))
	case types.Bytes:
		return textCost(len(x))
	case *lppMap:
		return textCost(x.payload) * 4
	case traits.Lister:
		if size := listSize(x); size > most {
			return size
		}
		s := scale{most: most, sum: 1}
		types.ToFoldableList(x).Fold(&s)
		return s.sum
	case traits.Mapper:
		s := scale{most: most, sum: 1}
		types.ToFoldableMap(x).Fold(&s)
		return s.sum
	case *types.Optional:
		if x.HasValue() {
			return weight(x.GetValue(), most)
		}
	}
	return 1
}

// scale adds up the weights of a list's or a map's contents.
type scale struct{ sum, most uint64 }

// FoldEntry implements traits.Folder. It stops when there is too much.
func (s *scale) FoldEntry(key, val any) bool {
	if text, ok := key.(types.String); ok {
		s.sum += textCost(len(text))
	}
	s.sum += weight(native(val), s.most-min(s.sum, s.most))
	return s.sum <= s.most
}

func listSize(v ref.Val) uint64 {
	if l, ok := v.(traits.Lister); ok {
		if size, ok := l.Size().(types.Int); ok && size > 0 {
			return uint64(size)
		}
	}
	return 0
}

func textSize(v ref.Val) uint64 {
	switch x := v.(type) {
	case types.String:
		return uint64(len(x))
	case types.Bytes:
		return uint64(len(x))
	}
	return 0
}
