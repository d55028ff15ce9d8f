package bench

import (
	"context"
	"runtime"

	"ponix/functions"
	"ponix/functions/convert"
	"ponix/functions/convert/idiomatic"
	"ponix/runtime/config"
)

// sample has six readings: temperature, humidity, analog input, barometer,
// accelerometer, gps; 37 bytes.
var sample = []byte{
	1, 103, 0x01, 0x10,
	2, 104, 0x83,
	3, 2, 0x01, 0x4a,
	4, 115, 0x27, 0x94,
	5, 113, 0x04, 0xd2, 0xfb, 0x2e, 0x00, 0x00,
	6, 136, 0x06, 0x76, 0x5f, 0xf2, 0x96, 0x0a, 0x00, 0x03, 0xe8,
}

// The expressions that are measured: what most devices have, and one that computes.
const (
	decodeAll = `cayenne_lpp_decode(input)`
	compute   = `{'t': cayenne_lpp_decode(input).temperature_1, 'f': cayenne_lpp_decode(input).temperature_1 * 9.0 / 5.0 + 32.0}`
)

// Convert compares a payload's way to JSON with the idiomatic one, on one
// goroutine, n payloads a round. No engine runs.
func Convert(n int) (Suite, error) {
	s := Suite{
		Name: "convert", About: "payload → JSON on one core, beside cel-go as it comes",
		Metrics: []Metric{Time, Allocs, CPU},
		Goals: []Goal{
			{Of: "decode, ponix", Base: "decode, idiomatic", Metric: Time, Bound: 0.35, AtMost: true},
			{Of: "compute, ponix", Base: "compute, idiomatic", Metric: Time, Bound: 0.55, AtMost: true},
			{Of: "decode, ponix", Metric: Allocs, Bound: 12, AtMost: true},
		},
	}
	bare, err := convert.Bare(config.Default[functions.Config]().Limits)
	if err != nil {
		return s, err
	}
	for _, e := range []struct{ name, expression string }{{"decode", decodeAll}, {"compute", compute}} {
		usual, err := idiomatic.Compile(e.expression)
		if err != nil {
			return s, err
		}
		s.Cases = append(s.Cases,
			Case{e.name + ", idiomatic", repeated(n, usual)},
			Case{e.name + ", ponix", repeated(n, func(ctx context.Context, payload []byte) ([]byte, error) {
				return bare(ctx, e.expression, payload)
			})})
	}
	return s, nil
}

func repeated(n int, f func(context.Context, []byte) ([]byte, error)) func(context.Context, *Round) error {
	return func(ctx context.Context, r *Round) error {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.Start()
		for range n {
			if _, err := f(ctx, sample); err != nil {
				return err
			}
		}
		r.Stop(n)
		runtime.ReadMemStats(&after)
		r.Set(Time, 1e9/r.values[Rate])
		r.Set(Allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
		return nil
	}
}
