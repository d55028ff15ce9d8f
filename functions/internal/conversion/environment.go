package conversion

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/ext"
)

const (
	// interruptEvery is how many steps of a loop pass between two looks at the
	// clock.
	interruptEvery = 100
	// maxRegex bounds the instructions of a compiled regular expression, and the
	// bytes of its text.
	maxRegex = 1000
	// maxNodes bounds what an expression becomes when its macros are expanded.
	maxNodes = 20_000
)

// environment is what expressions are compiled in.
type environment struct {
	*cel.Env
	limits     Limits
	validators []cel.ASTValidator
	overloads  map[string]*functions.Overload // by id, or by function name
	turns      chan struct{}                  // one for each evaluation with a loop that may run now
}

// muted is a validator that Env.Check does not ask. It draws each error with all that is before
// it in the line, character by character: a hundred at the end of 16 KiB took 3.4 s and 11.8 GB.
type muted struct{ cel.ASTValidator }

func (muted) Validate(*cel.Env, cel.ValidatorConfig, *ast.AST, *cel.Issues) {}

func newEnvironment(l Limits) (*environment, error) {
	opts := []cel.EnvOption{
		cel.StdLib(),
		cel.Variable("input", cel.BytesType),
		cel.Variable("received_at", cel.TimestampType),
		cel.Variable("device", cel.MapType(cel.StringType, cel.StringType)),
		cel.OptionalTypes(),
		ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Encoders(), ext.Bindings(),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ParserExpressionSizeLimit(l.Expression),
	}
	opts = append(opts, textFunctions()...)
	opts = append(opts, readerFunctions()...)
	var validators []cel.ASTValidator
	opts = append(opts, func(e *cel.Env) (_ *cel.Env, err error) {
		validators = e.Validators()
		for _, v := range validators {
			if e, err = cel.ASTValidators(muted{v})(e); err != nil { // in its place: it has its name
				return nil, err
			}
		}
		return e, nil
	})
	env, err := cel.NewCustomEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("conversion: %w", err)
	}
	e := &environment{env, l, validators, map[string]*functions.Overload{}, make(chan struct{}, runtime.GOMAXPROCS(0))}
	for name, f := range env.Functions() {
		overloads, err := f.Bindings()
		if err != nil {
			return nil, fmt.Errorf("conversion: %s: %w", name, err)
		}
		for _, o := range overloads {
			e.overloads[o.Operator] = o
		}
	}
	return e, nil
}

// compile checks an expression and plans it. An error is an *Error.
func (e *environment) compile(expression string) (*program, error) {
	parsed, issues := e.Parse(expression)
	if wrong := issues.Errors(); len(wrong) > 0 { // not Err, which draws each with all that is before it
		return nil, failed(InvalidExpression, "%s", positions(wrong))
	}
	if effort(parsed.NativeRep()) > maxEffort {
		return nil, failed(InvalidExpression, "1:1: the expression is too long for how deep its lists, maps and macros nest")
	}
	checked, issues := e.Check(parsed)
	if issues == nil {
		issues = cel.NewIssuesWithSourceInfo(common.NewErrors(parsed.Source()), checked.NativeRep().SourceInfo())
		for _, v := range e.validators {
			v.Validate(e.Env, nil, checked.NativeRep(), issues)
		}
	}
	if wrong := issues.Errors(); len(wrong) > 0 {
		return nil, failed(InvalidExpression, "%s", positions(wrong))
	}
	if t := checked.OutputType(); !canBeMap(t) {
		return nil, failed(InvalidExpression, "1:1: the expression yields %s, a map is needed", t)
	}
	about := inspect(checked.NativeRep())
	p := &program{limits: e.limits, whole: about.whole, loops: about.loops, turns: e.turns}
	m := &meters{environment: e, ast: checked.NativeRep(), about: about, wrong: about.repeated}
	if about.repeated != 0 {
		return nil, failed(InvalidExpression, "%s: the map has this key twice", m.position())
	}
	var err error
	p.cel, err = e.Program(checked,
		cel.CustomDecoratorV2(m.decorate),
		cel.CostLimit(e.limits.Cost), cel.CostTracking(costs{}), cel.CostTrackerOptions(trackers()...),
		cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, failed(InvalidExpression, "%s: %v", m.position(), err)
	}
	return p, nil
}

// positions lists what is wrong with an expression as line:column: message, in that order.
func positions(wrong []*cel.Error) string {
	slices.SortStableFunc(wrong, func(a, b *cel.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	const most = 3
	var lines []string
	for i, e := range wrong {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(wrong)-most))
			break
		}
		lines = append(lines, fmt.Sprintf("%d:%d: %s", max(e.Location.Line(), 1), max(e.Location.Column(), 0)+1, e.Message))
	}
	return strings.Join(lines, "; ")
}

// canBeMap tells whether a value of a type may be a map, or an optional one.
func canBeMap(t *cel.Type) bool {
	switch t.Kind() {
	case cel.MapKind, cel.DynKind, cel.AnyKind, cel.TypeParamKind:
		return true
	case cel.OpaqueKind:
		return t.TypeName() == "optional_type" && canBeMap(t.Parameters()[0])
	}
	return false
}
