package conversion

import (
	"cmp"
	"errors"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// literal replaces the map literal that an expression is, if its keys are
// constant strings, by a node that evaluates the members and makes no
// map of them: the result is written from it and nothing else.
func (m *meters) literal(c interpreter.InterpretableConstructor) interpreter.InterpretableV2 {
	e := m.ast.Expr()
	if e.Kind() != ast.MapKind {
		return c
	}
	values := c.InitVals()
	l := &literalMap{InterpretableConstructor: c}
	for i, entry := range e.AsMap().Entries() {
		member := entry.AsMapEntry()
		if member.IsOptional() || member.Key().Kind() != ast.LiteralKind {
			return c
		}
		key, ok := member.Key().AsLiteral().(types.String)
		if !ok {
			return c
		}
		l.keys = append(l.keys, string(key))
		l.values = append(l.values, values[2*i+1])
		l.sorted = append(l.sorted, i)
	}
	slices.SortFunc(l.sorted, func(a, b int) int { return cmp.Compare(l.keys[a], l.keys[b]) })
	return l
}

// literalMap is a map literal with constant keys.
type literalMap struct {
	interpreter.InterpretableConstructor
	keys   []string
	values []interpreter.InterpretableV2
	sorted []int // indices of keys
}

// Exec implements interpreter.InterpretableV2.
func (l *literalMap) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	m := &members{l, make([]ref.Val, len(l.values))}
	for i, v := range l.values {
		if m.values[i] = v.Exec(frame); types.IsUnknownOrError(m.values[i]) {
			return m.values[i]
		}
	}
	return m
}

// Eval implements interpreter.Interpretable.
func (l *literalMap) Eval(vars interpreter.Activation) ref.Val {
	return l.Exec(interpreter.AsFrame(vars))
}

// members is the value of a literalMap. No expression sees it.
type members struct {
	literal *literalMap
	values  []ref.Val
}

var errMembers = errors.New("conversion: the result of an expression is not for CEL")

// ConvertToNative implements ref.Val.
func (m *members) ConvertToNative(reflect.Type) (any, error) { return nil, errMembers }

// ConvertToType implements ref.Val.
func (m *members) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errMembers) }

// Equal implements ref.Val.
func (m *members) Equal(ref.Val) ref.Val { return types.WrapErr(errMembers) }

// Type implements ref.Val.
func (m *members) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m *members) Value() any { return m.values }
