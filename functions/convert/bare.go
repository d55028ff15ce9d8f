package convert

import (
	"context"

	"ponix/functions/internal/conversion"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// Bare returns the conversion alone, payload to JSON: without devices, streams and
// envelopes. `ponix bench` measures it.
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
		defer r.Release()
		return r.AppendJSON(nil)
	}, nil
}

// BareData is [Bare] for the limit loop of the pipeline: the result becomes the data
// of an envelope, in the encoding that the function writes.
func BareData(l conversion.Limits) (func(ctx context.Context, expression string, payload []byte, to *envelopev1.ProcessedEnvelope) error, error) {
	c, err := conversion.New(l)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, expression string, payload []byte, to *envelopev1.ProcessedEnvelope) error {
		r, err := c.Convert(ctx, expression, conversion.Input{Payload: payload})
		if err == nil {
			setData(to, r)
			r.Release()
		}
		return err
	}, nil
}
