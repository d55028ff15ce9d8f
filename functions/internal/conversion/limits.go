package conversion

import (
	"cmp"
	"fmt"
	"time"
)

// Limits bound what one conversion takes, and what is remembered of compiled
// expressions. Zero means the default.
type Limits struct {
	Payload    int           `name:"conversion-max-payload" default:"262144" help:"Bytes that a payload has at most; by MQTT 262144, also where this is more."`
	Expression int           `name:"conversion-max-expression" default:"16384" help:"Bytes that an expression has at most."`
	Cost       uint64        `name:"conversion-max-cost" default:"1000000" help:"What evaluating an expression costs at most, in CEL's units."`
	Time       time.Duration `name:"conversion-timeout" default:"100ms" help:"How long an evaluation takes at most."`
	Result     int           `name:"conversion-max-result" default:"1048576" help:"Bytes that a result has at most, as JSON."`
	Depth      int           `name:"conversion-max-depth" default:"32" help:"How deep objects and lists of a result nest at most; the result itself is the first."`
	Programs   int           `name:"conversion-cache-size" default:"4096" help:"Compiled expressions that are remembered at most."`
	Texts      int           `name:"conversion-cache-bytes" default:"1048576" help:"Bytes that the texts of remembered expressions have at most together. A compiled expression takes about a hundred times its text."`
}

func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		name   string
		value  *int
		preset int
	}{
		{"payload", &l.Payload, 256 << 10},
		{"expression", &l.Expression, 16 << 10},
		{"result", &l.Result, 1 << 20},
		{"depth", &l.Depth, 32},
		{"programs", &l.Programs, 4096},
		{"texts", &l.Texts, 1 << 20},
	} {
		if *f.value < 0 {
			return l, fmt.Errorf("conversion: limit %s is negative: %d", f.name, *f.value)
		}
		*f.value = cmp.Or(*f.value, f.preset)
	}
	if l.Time < 0 {
		return l, fmt.Errorf("conversion: limit time is negative: %s", l.Time)
	}
	l.Time = cmp.Or(l.Time, 100*time.Millisecond)
	l.Cost = cmp.Or(l.Cost, 1_000_000)
	return l, nil
}
