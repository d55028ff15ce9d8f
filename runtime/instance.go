package runtime

import (
	"context"
	"log/slog"
)

// Instance is where a [Source] runs: what it may know of it, and tell about
// itself. The zero Instance hears what it is told and does nothing.
type Instance struct{ b *binding }

type instanceKey struct{}

// InstanceOf returns the instance that a source's context belongs to.
func InstanceOf(ctx context.Context) Instance {
	i, _ := ctx.Value(instanceKey{}).(Instance)
	return i
}

// ID is the id that the instance has among all that host the function, as
// `nats micro ls` and `ponix ps` show it.
func (i Instance) ID() string {
	if i.b == nil {
		return ""
	}
	return i.b.service.identity.ID
}

// Logger is for what an operator should know although it is no error: errors are
// logged when they are returned.
func (i Instance) Logger() *slog.Logger {
	if i.b == nil {
		return slog.New(slog.DiscardHandler)
	}
	return i.b.host.Logger.With("function", i.b.function, "source", i.b.name)
}

// Handled counts what the source has done, in $SRV.STATS and in metrics.
func (i Instance) Handled(n int) {
	if i.b != nil {
		i.b.counters.requests.Add(int64(n))
	}
}

// Gauge sets a number that stands in $SRV.STATS, and in metrics as
// ponix_<function>_<name>.
func (i Instance) Gauge(name string, v float64) {
	if i.b != nil {
		i.b.counters.gauges.Store(name, v)
	}
}

// ClearGauges removes what Gauge has set: it was true of a time that is over.
func (i Instance) ClearGauges() {
	if i.b != nil {
		i.b.counters.gauges.Clear()
	}
}

func (n *counters) readGauges() map[string]float64 {
	var out map[string]float64
	n.gauges.Range(func(name, v any) bool {
		if out == nil {
			out = map[string]float64{}
		}
		out[name.(string)] = v.(float64)
		return true
	})
	return out
}
