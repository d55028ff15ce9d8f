// Package store keeps processed envelopes in ClickHouse, and reads them back.
//
// A row is written before its message is acknowledged, never the other way
// round. Writing it again changes nothing: its key has the envelope's id, and
// the table is a ReplacingMergeTree.
package store

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
)

// New returns the function. batch bounds what one insert holds.
func New(db driver.Conn, js jetstream.JetStream, s streams.Config, batch runtime.Batch) runtime.Function {
	f := store{db, js, s}
	return runtime.Func("store",
		runtime.Endpoint(envelopev1.EnvelopeService_PublishRawEnvelopes_FullMethodName, f.publish),
		runtime.Endpoint(envelopev1.EnvelopeService_WriteProcessedEnvelopes_FullMethodName, f.write, checkWrite),
		runtime.Endpoint(envelopev1.EnvelopeService_ListProcessedEnvelopes_FullMethodName, f.list, checkList),
		runtime.OnBatch(s.ProcessedEnvelopes(), streams.Store, batch, read, f.batch)).
		Described("processed envelopes in ClickHouse")
}

type store struct {
	db      driver.Conn
	js      jetstream.JetStream
	streams streams.Config
}

// batch is the pipeline's end: a batch becomes rows. A row that ClickHouse
// refuses is a dead letter; the rest is stored.
func (f store) batch(ctx context.Context, rows []row) error {
	fates := make(runtime.BatchError, len(rows))
	var objects, texts, alone []row
	for i, r := range rows {
		switch r.index = i; {
		case r.text == "":
			objects = append(objects, r)
		case r.work > maxWork:
			alone = append(alone, r)
		default:
			texts = append(texts, r)
		}
	}
	for _, rows := range [][]row{objects, inOrder(texts), alone} {
		for len(rows) > 0 { // those that there is no time for come again
			n := block(rows)
			f.insertSplitting(ctx, rows[:n], fates)
			rows = rows[n:]
		}
	}
	return fates
}
