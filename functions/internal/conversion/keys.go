package conversion

import (
	"fmt"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// In a map literal with two equal keys CEL takes the last. A device would lose a
// value that way, so here it is an error: of the check where the keys are
// constant, and of the evaluation where they are not.

// repeatedKey returns the id of a constant key that a map literal has twice, or
// 0, and whether all its keys are constant.
func repeatedKey(entries []ast.EntryExpr) (id int64, constant bool) {
	constant = true
	seen := map[string]bool{}
	for _, entry := range entries {
		key := entry.AsMapEntry().Key()
		if key.Kind() != ast.LiteralKind {
			constant = false
			continue
		}
		name := "number"
		switch key.AsLiteral().(type) {
		case types.String:
			name = "string"
		case types.Bool:
			name = "bool"
		}
		name += fmt.Sprint(key.AsLiteral().Value())
		if seen[name] {
			return key.ID(), constant
		}
		seen[name] = true
	}
	return 0, constant
}

// hasOptional tells whether a map literal may be smaller than it looks.
func hasOptional(entries []ast.EntryExpr) bool {
	for _, entry := range entries {
		if entry.AsMapEntry().IsOptional() {
			return true
		}
	}
	return false
}

// distinctMap is a map literal whose keys are evaluated.
type distinctMap struct {
	interpreter.InterpretableConstructor
	size int
}

// Exec implements interpreter.InterpretableV2.
func (d *distinctMap) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := d.InterpretableConstructor.Exec(frame)
	if m, ok := v.(traits.Mapper); ok && m.Size() != types.Int(d.size) {
		return types.NewErr("two keys of a map are equal")
	}
	return v
}

// Eval implements interpreter.Interpretable.
func (d *distinctMap) Eval(vars interpreter.Activation) ref.Val {
	return d.Exec(interpreter.AsFrame(vars))
}
