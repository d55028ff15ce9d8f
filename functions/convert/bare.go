package convert

import (
	"context"

	"ponix/functions/internal/conversion"
)

// Bare returns the conversion alone, payload to JSON: without devices, streams and
// envelopes. `ponix bench` runs it in its limit loops.
func Bare(l conversion.Limits) (func(ctx context.Context, expression string, payload []byte) ([]byte, error), error) {
	c, err := conversion.New(l)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, expression string, payload []byte) ([]byte, error) {
		r, err := c.Convert(ctx, expression, conversion.Input{Payload: payload})
		if err != nil {
			return nil, err
		}
		return r.AppendJSON(nil)
	}, nil
}
