// Package idiomatic converts payloads as one does with cel-go out of the box: the
// readings are a Go map, the result is converted to another, and encoding/json writes
// that. The limits on cost and time are those that Ponix sets.
// `ponix bench convert` compares Ponix with it.
package idiomatic

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"ponix/functions/internal/cayenne"
)

// The limits of an evaluation: Ponix's default for the cost, and a look at the
// context as often as Ponix has one.
const (
	cost           = 1_000_000
	interruptEvery = 100
)

var mapType = reflect.TypeFor[map[string]any]()

// Compile returns a function that turns a payload into JSON. The expression has
// the variable input and the function cayenne_lpp_decode.
func Compile(expression string) (func(ctx context.Context, payload []byte) ([]byte, error), error) {
	env, err := cel.NewEnv(
		cel.Variable("input", cel.BytesType),
		cel.Function("cayenne_lpp_decode", cel.Overload("cayenne_lpp_decode_bytes",
			[]*cel.Type{cel.BytesType}, cel.MapType(cel.StringType, cel.DynType), cel.UnaryBinding(decode))))
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := env.Program(checked, cel.CostLimit(cost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		v, _, err := program.ContextEval(ctx, map[string]any{"input": payload})
		if err != nil {
			return nil, err
		}
		m, err := v.ConvertToNative(mapType)
		if err != nil {
			return nil, err
		}
		return json.Marshal(m)
	}, nil
}

func decode(v ref.Val) ref.Val {
	m, err := cayenne.Decode(v.(types.Bytes))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(m)
}
