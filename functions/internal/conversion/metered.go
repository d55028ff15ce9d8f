package conversion

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// meters puts the meter into a plan: around each call and each list or map whose
// cost depends on the size of what it works on.
type meters struct {
	*environment
	ast   *ast.AST
	about aboutExpression
	wrong int64 // the part that could not be planned
}

// position is the line and the column of what could not be planned.
func (m *meters) position() string {
	at := m.ast.SourceInfo().GetStartLocation(m.wrong)
	return fmt.Sprintf("%d:%d", max(at.Line(), 1), max(at.Column(), 0)+1)
}

// decorate implements interpreter.InterpretableDecoratorV2.
func (m *meters) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch x := i.(type) {
	case interpreter.InterpretableCall:
		return m.call(x)
	case interpreter.InterpretableConstructor:
		if size, ok := m.about.computed[x.ID()]; ok {
			x = &distinctMap{x, size}
		}
		if x.ID() == m.ast.Expr().ID() {
			// The result itself is not measured: all that is done with it is
			// to write it, and that is bounded.
			return m.literal(x), nil
		}
		if m.allFixed(x.InitVals()) {
			return x, nil
		}
		return &meteredConstructor{x}, nil
	}
	return i, nil
}

func (m *meters) call(c interpreter.InterpretableCall) (interpreter.InterpretableV2, error) {
	name, args := c.Function(), c.Args()
	if name == cayenneFunction && !m.about.shadowed && m.isInput(args[0]) {
		return &decodeInput{c}, nil
	}
	if name == overloads.Matches {
		return m.matches(c)
	}
	extra := surcharges[name]
	if isFree(name, c.OverloadID()) || m.isReader(name) || extra == nil && m.allFixed(args) {
		return &plainCall{c, args}, nil
	}
	o := m.overload(c)
	if o == nil || o.NonStrict {
		return &plainCall{c, args}, nil
	}
	return &meteredCall{plainCall{c, args}, o, extra}, nil
}

// overload finds what a call runs, as the planner does.
func (m *meters) overload(c interpreter.InterpretableCall) *functions.Overload {
	switch c.Function() {
	case operators.Equals:
		return &functions.Overload{Binary: types.Equal}
	case operators.NotEquals:
		return &functions.Overload{Binary: func(a, b ref.Val) ref.Val { return types.Bool(types.Equal(a, b) != types.True) }}
	}
	if o := m.overloads[c.OverloadID()]; o != nil {
		return o
	}
	return m.overloads[c.Function()]
}

func (m *meters) isReader(name string) bool {
	return name != "slice" && m.overloads["bytes_"+name] != nil
}

func (m *meters) isInput(i interpreter.InterpretableV2) bool {
	a, ok := i.(interpreter.InterpretableAttribute)
	if !ok || m.ast.GetType(i.ID()).Kind() != cel.BytesKind {
		return false
	}
	r, ok := m.ast.ReferenceMap()[i.ID()]
	return ok && r.Name == "input" && a.Attr().ID() == i.ID()
}

// allFixed tells whether all values are of types whose values have one size.
func (m *meters) allFixed(is []interpreter.InterpretableV2) bool {
	for _, i := range is {
		if c, ok := i.(interpreter.InterpretableConst); ok && textSize(c.Value()) < bytesPerCost && listSize(c.Value()) == 0 {
			continue
		}
		switch m.ast.GetType(i.ID()).Kind() {
		case cel.BoolKind, cel.IntKind, cel.UintKind, cel.DoubleKind, cel.TimestampKind, cel.DurationKind, cel.NullTypeKind, cel.TypeKind:
		default:
			return false
		}
	}
	return true
}

// plainCall is a call that is not metered. It keeps its arguments, which the
// account of CEL asks for each time, and the planner's calls allocate.
type plainCall struct {
	interpreter.InterpretableCall
	args []interpreter.InterpretableV2
}

// Args implements interpreter.InterpretableCall.
func (c *plainCall) Args() []interpreter.InterpretableV2 { return c.args }

// meteredCall charges a call before it is made.
type meteredCall struct {
	plainCall
	overload *functions.Overload
	extra    surcharge
}

// Exec implements interpreter.InterpretableV2.
func (c *meteredCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, len(c.args))
	for i, arg := range c.args {
		if args[i] = arg.Exec(frame); types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	c.charge(&evaluationOf(frame).meter, args)
	return types.LabelErrNode(c.ID(), c.invoke(args))
}

// Eval implements interpreter.Interpretable.
func (c *meteredCall) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

func (c *meteredCall) charge(m *meter, args []ref.Val) {
	var cost uint64
	for _, arg := range args {
		if c.passesBy(arg) {
			continue
		}
		if cost += weight(arg, m.left); cost > m.left {
			break
		}
	}
	m.charge(cost)
	if c.extra != nil {
		m.charge(c.extra(args))
	}
}

// passesBy tells whether the call does not go through an argument: in looks a
// key of a map up, and what a loop adds to the list that it is making is added
// in place.
func (c *meteredCall) passesBy(arg ref.Val) bool {
	switch c.Function() {
	case operators.In:
		_, ok := arg.(traits.Mapper)
		return ok
	case operators.Add:
		_, ok := arg.(traits.MutableLister)
		return ok
	}
	return false
}

func (c *meteredCall) invoke(args []ref.Val) ref.Val {
	o := c.overload
	switch {
	case o.OperandTrait != 0 && !args[0].Type().HasTrait(o.OperandTrait):
		return types.MaybeNoSuchOverloadErr(args[0])
	case len(args) == 1 && o.Unary != nil:
		return o.Unary(args[0])
	case len(args) == 2 && o.Binary != nil:
		return o.Binary(args[0], args[1])
	case o.Function != nil:
		return o.Function(args...)
	}
	return types.NewErr("no such overload: %s", c.Function())
}

// meteredConstructor charges a list or a map for what is in it.
type meteredConstructor struct {
	interpreter.InterpretableConstructor
}

// Exec implements interpreter.InterpretableV2.
func (c *meteredConstructor) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := c.InterpretableConstructor.Exec(frame)
	if !types.IsUnknownOrError(v) {
		m := &evaluationOf(frame).meter
		m.charge(weight(v, m.left))
	}
	return v
}

// Eval implements interpreter.Interpretable.
func (c *meteredConstructor) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

// decodeInput is cayenne_lpp_decode(input), decoded once in an evaluation.
type decodeInput struct{ interpreter.InterpretableCall }

// Args implements interpreter.InterpretableCall: nothing is evaluated first.
func (d *decodeInput) Args() []interpreter.InterpretableV2 { return nil }

// Exec implements interpreter.InterpretableV2.
func (d *decodeInput) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return evaluationOf(frame).cayenne()
}

// Eval implements interpreter.Interpretable.
func (d *decodeInput) Eval(vars interpreter.Activation) ref.Val {
	return d.Exec(interpreter.AsFrame(vars))
}
