// Package functions lists what Ponix can do: one folder, and one line below,
// for each function.
package functions

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/functions/cdc"
	"ponix/functions/convert"
	enddevice "ponix/functions/end_device"
	"ponix/functions/gateway"
	gatewaystate "ponix/functions/gateway_state"
	"ponix/functions/internal/conversion"
	mqttingest "ponix/functions/mqtt_ingest"
	"ponix/functions/organization"
	"ponix/functions/store"
	"ponix/nats/streams"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// Config is what an operator may change of the functions.
type Config struct {
	Streams   streams.Config    `embed:"" group:"NATS"`
	Devices   convert.Cache     `embed:""`
	Limits    conversion.Limits `embed:""`
	MQTT      mqttingest.Config `embed:""`
	BatchSize int               `name:"nats-batch-size" default:"10000" help:"Rows that one insert into ClickHouse holds at most."`
	BatchWait float64           `name:"nats-batch-wait-secs" default:"0.25" help:"Seconds that a row waits for others at most, of which up to a quarter is kept for writing it."`
	Writers   int               `name:"clickhouse-writers" default:"2" help:"Inserts at a time."`
	CDC       cdc.Config        `embed:"" group:"Change data capture"`
}

// Deps is what functions work on. Each connects when it is first used.
type Deps struct {
	NATS       *nats.Conn
	Postgres   *pgxpool.Pool
	ClickHouse driver.Conn
}

// publishTimeout is how long an envelope that a caller publishes may wait for the stream.
const publishTimeout = 10 * time.Second

// All returns every function.
func All(d Deps, c Config) ([]runtime.Function, error) {
	// What a stream's leader never answers must not take the room of what comes later.
	js, err := c.Streams.JetStream(d.NATS, jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, err
	}
	converter, err := conversion.New(c.Limits)
	if err != nil {
		return nil, err
	}
	devices := convert.NewDevices(wire.NewClient(d.NATS), c.Devices)
	batch := runtime.Batch{Size: c.BatchSize, Wait: time.Duration(c.BatchWait * float64(time.Second)), Writers: c.Writers}
	return []runtime.Function{
		organization.New(d.Postgres),
		enddevice.New(d.Postgres, converter.Check),
		gateway.New(d.Postgres),
		gatewaystate.New(js, c.Streams),
		mqttingest.New(d.NATS, js, c.Streams, c.MQTT),
		convert.New(js, c.Streams, converter, devices),
		store.New(d.ClickHouse, js, c.Streams, batch),
		cdc.New(d.Postgres, d.NATS, js, c.Streams, c.CDC),
	}, nil
}
