package conversion

import (
	"math"
	"math/bits"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// free are the functions that look at no more than a fixed part of their
// arguments and make nothing of their size.
var free = map[string]bool{
	"size": true, "type": true, "dyn": true, "bits": true,
	"@not_strictly_false": true, "__not_strictly_false__": true,
	"optional.of": true, "optional.none": true, "hasValue": true, "value": true,
	operators.Multiply: true, operators.Divide: true, operators.Modulo: true, operators.Subtract: true, operators.Negate: true,
}

// isFree tells whether a call is free: by its function, or where some of the
// function's overloads are and the checker has found which it is.
func isFree(function, overload string) bool {
	switch function {
	case "slice":
		return overload == "bytes_slice" // that of a list copies
	case operators.Add:
		return overload != "" && overload != overloads.AddString && overload != overloads.AddBytes && overload != overloads.AddList
	}
	return free[function]
}

// surcharge is what a function costs beyond the weight of its arguments, because
// it takes longer than to go through them once, or makes something larger.
type surcharge func(args []ref.Val) uint64

// surcharges by function name. The names are those of the extensions; where
// CEL's own account has a formula too, it is the same.
var surcharges = map[string]surcharge{
	"lists.range": func(a []ref.Val) uint64 {
		if n, ok := a[0].(types.Int); ok && n > 0 {
			return uint64(n)
		}
		return 0
	},
	"distinct":              func(a []ref.Val) uint64 { return product(2*listSize(a[0]), listSize(a[0])) },
	"sort":                  sorted,
	"@sortByAssociatedKeys": sorted,
	"sets.contains":         func(a []ref.Val) uint64 { return product(listSize(a[0]), listSize(a[1])) },
	"sets.intersects":       func(a []ref.Val) uint64 { return product(listSize(a[0]), listSize(a[1])) },
	"sets.equivalent":       func(a []ref.Val) uint64 { return product(2*listSize(a[0]), listSize(a[1])) },
	"indexOf":               search,
	"lastIndexOf":           search,
	"replace":               replacement,
	"split":                 parts,
	"join":                  joined,
	"format":                formatted,
	"json.encode":           func(a []ref.Val) uint64 { return product(8, weight(a[0], maxWeight)) },
	"json_decode":           func(a []ref.Val) uint64 { return textSize(a[0]) / 2 },
	cayenneFunction:         func(a []ref.Val) uint64 { return textSize(a[0]) / 10 },
}

// maxWeight stops weighing where any limit is passed.
const maxWeight = 1 << 40

// product does not overflow.
func product(a, b uint64) uint64 {
	if high, low := bits.Mul64(a, b); high == 0 {
		return low
	}
	return math.MaxUint64
}

// sorted is a sort by comparison, and what the elements are looked up for.
func sorted(a []ref.Val) uint64 {
	size := listSize(a[0])
	return product(2*size, uint64(bits.Len64(size)))
}

// search is string search that compares at every place.
func search(a []ref.Val) uint64 {
	return product(textSize(a[0]), textSize(a[1])) / bytesPerCost
}

// replacement is what replace adds to a string.
func replacement(a []ref.Val) uint64 {
	s, ok1 := a[0].(types.String)
	old, ok2 := a[1].(types.String)
	if !ok1 || !ok2 {
		return 0
	}
	return product(uint64(strings.Count(string(s), string(old))), textSize(a[2])) / bytesPerCost
}

// parts is how many strings split makes.
func parts(a []ref.Val) uint64 {
	s, ok1 := a[0].(types.String)
	separator, ok2 := a[1].(types.String)
	if !ok1 || !ok2 {
		return 0
	}
	return uint64(strings.Count(string(s), string(separator)))
}

// joined is what the separators of join take.
func joined(a []ref.Val) uint64 {
	if len(a) < 2 {
		return 0
	}
	return product(listSize(a[0]), textSize(a[1])) / bytesPerCost
}

// formatted allows each argument of format to become some hundred characters,
// which %f does, and each of its parts to be looked up and written on its own.
func formatted(a []ref.Val) uint64 {
	return product(50, listSize(a[1])) + product(2, weight(a[1], maxWeight))
}

// costs is what CEL's own account charges for the functions of this package.
type costs struct{}

// CallCost implements interpreter.ActualCostEstimator: as in the extensions, a
// tenth for each byte that a function goes through.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	size := 0
	switch function {
	case cayenneFunction:
		if m, ok := result.(*lppMap); ok {
			size = m.payload
		}
	case "json_decode", "hex", "unhex":
		size = int(textSize(args[0]))
	default:
		return nil
	}
	return new(textCost(size))
}

// trackers replaces what the extensions charge in a way that cannot be used:
// json.encode more than any limit, and sorting its square, with a panic if an
// argument is an error.
func trackers() []interpreter.CostTrackerOption {
	opts := []interpreter.CostTrackerOption{
		interpreter.OverloadCostTracker("json_encode_dyn", func(_ []ref.Val, result ref.Val) *uint64 {
			return new(textCost(int(textSize(result))))
		}),
		interpreter.OverloadCostTracker("list_distinct", trackList(surcharges["distinct"])),
	}
	for _, t := range []*cel.Type{
		cel.IntType, cel.UintType, cel.DoubleType, cel.BoolType, cel.DurationType, cel.TimestampType, cel.StringType, cel.BytesType,
	} {
		name := "list_" + t.TypeName() + "_sort"
		opts = append(opts,
			interpreter.OverloadCostTracker(name, trackList(sorted)),
			interpreter.OverloadCostTracker(name+"ByAssociatedKeys", trackList(sorted)))
	}
	return opts
}

func trackList(s surcharge) interpreter.FunctionTracker {
	return func(args []ref.Val, _ ref.Val) *uint64 {
		return new(s(args) + common.ListCreateBaseCost)
	}
}
