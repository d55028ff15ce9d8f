// Package conversion turns the payload of a device into a JSON object by a CEL
// expression (https://cel.dev). The pipeline, its dry run and the check at write
// share it, so all three know the same environment, limits and errors.
//
// An expression sees input (the payload, bytes), received_at (timestamp) and
// device (a map with id, name and organization_id), the standard library of CEL,
// cel-go's extensions strings, math, lists, sets, encoders, bindings and
// optional values, and the functions of this package:
//
//	cayenne_lpp_decode(bytes)           map of the readings, see package cayenne
//	json_decode(string or bytes)        the value of one JSON text
//	hex(bytes), unhex(string)           hexadecimal digits
//	b.u8(i) b.i8(i) b.u16be(i) b.i16le(i) … b.u64le(i) b.f32be(i) b.f64le(i)
//	                                    a number at byte i: 8, 16, 24, 32 or 64 bits
//	b.bits(offset, count)               an unsigned field of 1 to 63 bits
//	b.slice(from, to)                   bytes
//
// The result must be a map. Its keys are strings, integers or booleans and become
// strings, no two of them the same one. Strings, booleans, null, lists and maps
// are what they are in JSON; int and uint are exact to 64 bits; NaN and infinities
// are an error; bytes are standard base64; a timestamp is RFC 3339 in UTC, a
// duration seconds with an s; an optional is its value. Limits bounds what a
// hostile expression can take.
package conversion

import (
	"context"
	"time"
)

// Input is what one evaluation works on.
type Input struct {
	Payload        []byte // must not change as long as the Result is in use
	ReceivedAt     time.Time
	DeviceID       string
	DeviceName     string
	OrganizationID string
}

// Converter compiles expressions, remembers them and evaluates them. It is safe
// for concurrent use.
type Converter struct {
	limits Limits
	env    *environment
	cache  *cache
}

// New returns a converter. Limits that are zero have their defaults; negative
// ones are an error.
func New(l Limits) (*Converter, error) {
	l, err := l.withDefaults()
	if err != nil {
		return nil, err
	}
	env, err := newEnvironment(l)
	if err != nil {
		return nil, err
	}
	return &Converter{l, env, newCache(l, env.compile)}, nil
}

// Check tells whether an expression can be compiled and its type can be a map.
// An error is an *Error with the position in its message. The empty expression
// is one too: a caller that allows it does not ask.
func (c *Converter) Check(expression string) error {
	_, err := c.program(expression)
	return err
}

// Convert evaluates an expression. An error is an *Error, unless ctx ended.
func (c *Converter) Convert(ctx context.Context, expression string, in Input) (Result, error) {
	if size := len(in.Payload); size > c.limits.Payload {
		return Result{}, failed(PayloadTooLarge, "the payload has %d bytes, the limit is %d", size, c.limits.Payload)
	}
	p, err := c.program(expression)
	if err != nil {
		return Result{}, err
	}
	return p.run(ctx, &in)
}

func (c *Converter) program(expression string) (*program, error) {
	if expression == "" {
		return nil, failed(NoExpression, "there is no payload conversion")
	}
	if size := len(expression); size > c.limits.Expression {
		return nil, failed(ExpressionTooLong, "the expression has %d bytes, the limit is %d", size, c.limits.Expression)
	}
	return c.cache.get(expression)
}
