package conversion

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// compileCost is charged for compiling a regular expression, which takes some
// hundred microseconds at most.
const compileCost = 2 * worthALook

// pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	size uint64 // instructions
}

// compilePattern compiles a regular expression that is not too large. How large
// it is when compiled is known only then, and bounded by its text.
func compilePattern(text string) (*pattern, error) {
	if len(text) > maxRegex {
		return nil, fmt.Errorf("the regular expression has %d bytes, the limit is %d", len(text), maxRegex)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	compiled, err := syntax.Compile(parsed.Simplify()) // without it repetitions panic
	if err != nil {
		return nil, err
	}
	size := len(compiled.Inst)
	if size > maxRegex {
		return nil, fmt.Errorf("the regular expression has %d instructions, the limit is %d", size, maxRegex)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &pattern{re, uint64(size)}, nil
}

// matches plans a call of matches. A constant pattern is compiled here.
func (m *meters) matches(c interpreter.InterpretableCall) (interpreter.InterpretableV2, error) {
	call := &matchCall{plainCall: plainCall{c, c.Args()}}
	if constant, ok := call.args[1].(interpreter.InterpretableConst); ok {
		if text, ok := constant.Value().(types.String); ok {
			var err error
			if call.constant, err = compilePattern(string(text)); err != nil {
				m.wrong = call.args[1].ID()
				return nil, err
			}
		}
	}
	return call, nil
}

// matchCall is matches with its time bounded: Go's matching is linear in the
// text, times the size of the pattern.
type matchCall struct {
	plainCall
	constant *pattern // nil if the pattern is not a constant
}

// Exec implements interpreter.InterpretableV2.
func (c *matchCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	subject := c.args[0].Exec(frame)
	if types.IsUnknownOrError(subject) {
		return subject
	}
	expression := c.args[1].Exec(frame)
	if types.IsUnknownOrError(expression) {
		return expression
	}
	text, ok1 := subject.(types.String)
	source, ok2 := expression.(types.String)
	if !ok1 || !ok2 {
		return types.NewErrWithNodeID(c.ID(), "no such overload: matches")
	}
	m := &evaluationOf(frame).meter
	p := c.constant
	if p == nil {
		m.charge(compileCost)
		var err error
		if p, err = compilePattern(string(source)); err != nil {
			return types.WrapErr(err)
		}
	}
	m.charge(product(uint64(len(text))+1, p.size)/8 + 1)
	return types.Bool(p.MatchString(string(text)))
}

// Eval implements interpreter.Interpretable.
func (c *matchCall) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}
