package conversion

import "github.com/google/cel-go/common/ast"

// maxEffort bounds what it takes to check the types of an expression, which the
// checker does not: about half a second. Ordinary expressions take thousands.
const maxEffort = 1_000_000

// effort estimates what it takes to check the types of a parsed expression: for
// each part the square of the depth of types, as the checker compares types by
// their text. A type can be as deep as lists, maps, macros and optionals nest.
func effort(a *ast.AST) int {
	nodes, deepest := 0, 1
	var visit func(e ast.NavigableExpr, depth int)
	visit = func(e ast.NavigableExpr, depth int) {
		switch e.Kind() {
		case ast.ListKind, ast.MapKind, ast.ComprehensionKind:
			depth++
		case ast.CallKind:
			if e.AsCall().FunctionName() == "of" { // optional.of
				depth++
			}
		}
		nodes++
		deepest = max(deepest, depth)
		for _, child := range e.Children() {
			visit(child, depth)
		}
	}
	visit(ast.NavigateAST(a), 1)
	return nodes * deepest * deepest
}

// aboutExpression is what the syntax tree tells before anything is evaluated.
type aboutExpression struct {
	whole    bool // all of it is cayenne_lpp_decode(input)
	loops    bool // something is evaluated more than once
	shadowed bool // input is not always the payload

	repeated int64         // a key that a map literal has twice; 0 if there is none
	computed map[int64]int // map literals whose keys are evaluated, and their sizes
}

func inspect(a *ast.AST) aboutExpression {
	about := aboutExpression{whole: decodesInput(a.Expr()), computed: map[int64]int{}}
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			about.comprehension(e.AsComprehension())
		case ast.MapKind:
			about.mapLiteral(e.ID(), e.AsMap().Entries())
		}
	}))
	return about
}

func (about *aboutExpression) comprehension(c ast.ComprehensionExpr) {
	if r := c.IterRange(); r.Kind() != ast.ListKind || r.AsList().Size() > 0 {
		about.loops = true // cel.bind loops over the empty list
	}
	for _, name := range []string{c.IterVar(), c.IterVar2(), c.AccuVar()} {
		about.shadowed = about.shadowed || name == "input"
	}
}

func (about *aboutExpression) mapLiteral(id int64, entries []ast.EntryExpr) {
	repeated, constant := repeatedKey(entries)
	about.repeated = max(about.repeated, repeated)
	if !constant && !hasOptional(entries) {
		about.computed[id] = len(entries)
	}
}

// decodesInput tells whether e is cayenne_lpp_decode(input).
func decodesInput(e ast.Expr) bool {
	if e.Kind() != ast.CallKind {
		return false
	}
	call := e.AsCall()
	return call.FunctionName() == cayenneFunction && !call.IsMemberFunction() && len(call.Args()) == 1 &&
		call.Args()[0].Kind() == ast.IdentKind && call.Args()[0].AsIdent() == "input"
}
