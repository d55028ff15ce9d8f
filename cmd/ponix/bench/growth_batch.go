package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// batches measures processed → rows by how many rows an insert holds at most.
func (g Growth) batches(ctx context.Context, w *World, a *Axis) error {
	a.About, a.X = "processed → rows in ClickHouse, by the number of rows that an insert holds at most", "rows of an insert"
	db, err := w.clickHouse(ctx)
	if err != nil {
		return err
	}
	kept := w.config.Streams.ProcessedEnvelopes()
	if err := w.processed(ctx, g.Count); err != nil {
		return err
	}
	for _, size := range g.Batches {
		own := *w
		own.config.BatchSize = size
		n := min(g.Count, 1000*size)
		a.add(size, fmt.Sprintf("%d rows", size), func(ctx context.Context, r *Round) error {
			if err := w.again(ctx, db, kept, streams.Store); err != nil {
				return err
			}
			if err := own.processes(ctx, r, 1, n, w.settled(kept, streams.Store), "store"); err != nil {
				return err
			}
			var rows uint64
			if err := db.QueryRow(ctx, "SELECT uniqExact(envelope_id) FROM processed_envelopes").Scan(&rows); err != nil {
				return err
			}
			if rows < uint64(n) {
				return fmt.Errorf("%d rows of %d envelopes", rows, n)
			}
			return nil
		})
	}
	return nil
}

// processed fills the stream of processed envelopes with n.
func (w *World) processed(ctx context.Context, n int) error {
	kept := w.config.Streams.ProcessedEnvelopes()
	if err := streams.Ensure(ctx, w.js, kept); err != nil {
		return err
	}
	for i := range n {
		m, err := processedEnvelope(kept, i)
		if err != nil {
			return err
		}
		if _, err := w.js.PublishMsgAsync(m, jetstream.WithStallWait(stalled)); err != nil {
			return err
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again makes every message of a stream unsettled for a consumer, and the table
// empty.
func (w *World) again(ctx context.Context, db driver.Conn, s streams.Stream, durable string) error {
	if err := w.rewind(ctx, s, durable); err != nil {
		return err
	}
	return db.Exec(ctx, "TRUNCATE TABLE processed_envelopes")
}

// processedEnvelope is what the sample of the i-th device becomes.
func processedEnvelope(to streams.Stream, i int) (*nats.Msg, error) {
	now := timestamppb.New(time.Now().Truncate(time.Microsecond))
	id := "processed-" + strconv.Itoa(i)
	data, err := proto.Marshal(&envelopev1.ProcessedEnvelope{
		OrganizationId: organization, EndDeviceId: deviceID(i), EnvelopeId: id, OccurredAt: now, ProcessedAt: now,
		DataJson: fmt.Appendf(nil, `{"temperature_1":%d.5,"humidity_2":65.5,"barometer_4":1013.2,"gps_6":{"latitude":42.3519,"longitude":-87.9094,"altitude":10}}`, i%40),
	})
	return &nats.Msg{
		Subject: to.Subject(organization, deviceID(i)), Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {id}},
	}, err
}
