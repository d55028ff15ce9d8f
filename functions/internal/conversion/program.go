package conversion

import (
	"context"
	"errors"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
)

// program is a compiled expression.
type program struct {
	cel    cel.Program
	limits Limits
	whole  bool // it is cayenne_lpp_decode(input) and nothing else
	loops  bool
	turns  chan struct{}
}

// run evaluates the program.
func (p *program) run(ctx context.Context, in *Input) (Result, error) {
	if p.whole {
		return p.runWhole(in)
	}
	return p.runCEL(ctx, in)
}

// runWhole does what runCEL would do for cayenne_lpp_decode(input), without CEL.
func (p *program) runWhole(in *Input) (Result, error) {
	if textCost(len(in.Payload)) > p.limits.Cost {
		return Result{}, p.tooCostly()
	}
	b := newBuilder(&p.limits)
	if err := b.payload(in.Payload); err != nil {
		b.release()
		return Result{}, failed(EvaluationFailed, "%v", err)
	}
	return b.result()
}

// quick is the bytes of a payload up to which an evaluation without a loop is over
// before others could be in its way.
const quick = 16 << 10

func (p *program) runCEL(ctx context.Context, in *Input) (Result, error) {
	if p.loops || len(in.Payload) > quick {
		// As many at a time as there are processors: an evaluation's time is not
		// spent on waiting for others.
		select {
		case p.turns <- struct{}{}:
			defer func() { <-p.turns }()
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
	}
	e := &evaluation{in: in, meter: meter{left: p.limits.Cost, deadline: time.Now().Add(p.limits.Time)}}
	var v ref.Val
	var err error
	if p.loops {
		timed, cancel := context.WithDeadline(ctx, e.meter.deadline)
		v, _, err = p.cel.ContextEval(timed, e)
		cancel()
	} else {
		// Nothing looks at a context: the meter bounds the time.
		v, _, err = p.cel.Eval(e)
	}
	if err != nil {
		return Result{}, p.failure(ctx, err)
	}
	b := newBuilder(&p.limits)
	b.root(v)
	return b.result()
}

// failure says why an evaluation ended.
func (p *program) failure(ctx context.Context, err error) error {
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return p.tooCostly()
	case errors.As(err, &cancelled), errors.Is(err, interpreter.InterruptError{}):
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return failed(TimeExceeded, "the evaluation takes longer than the limit of %s", p.limits.Time)
	}
	return failed(EvaluationFailed, "%v", err)
}

func (p *program) tooCostly() *Error {
	return failed(CostExceeded, "the evaluation costs more than the limit of %d", p.limits.Cost)
}

// evaluation is what one run of a program knows: its variables and its meter.
type evaluation struct {
	in      *Input
	meter   meter
	payload ref.Val
	decoded ref.Val // the payload as Cayenne, once it was asked for
}

// evaluationName is where the program's own parts find the evaluation. No expression
// can have a name with an @ in it.
const evaluationName = "@evaluation"

// ResolveName implements cel.Activation.
func (e *evaluation) ResolveName(name string) (any, bool) {
	switch name {
	case "input":
		return e.bytes(), true
	case "received_at":
		return types.Timestamp{Time: e.in.ReceivedAt.UTC()}, true
	case "device":
		return types.NewStringStringMap(types.DefaultTypeAdapter, map[string]string{
			"id": e.in.DeviceID, "name": e.in.DeviceName, "organization_id": e.in.OrganizationID,
		}), true
	case evaluationName:
		return e, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (e *evaluation) Parent() cel.Activation { return nil }

func (e *evaluation) bytes() ref.Val {
	if e.payload == nil {
		e.payload = types.Bytes(e.in.Payload)
	}
	return e.payload
}

// cayenne decodes the payload, once however often it is asked for.
func (e *evaluation) cayenne() ref.Val {
	if e.decoded == nil {
		e.decoded = decodeCayenne(e.in.Payload)
	}
	return e.decoded
}

// evaluationOf returns the evaluation that a frame belongs to.
func evaluationOf(frame *interpreter.ExecutionFrame) *evaluation {
	e, _ := frame.ResolveName(evaluationName)
	return e.(*evaluation)
}
