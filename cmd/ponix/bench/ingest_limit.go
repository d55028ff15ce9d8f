package bench

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"ponix/functions/store"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// The product's defaults.
const (
	blockSize = 10_000
	writers   = 2
)

// block is the columns of an insert.
type block struct {
	organizations, devices []string
	occurred, processed    []time.Time
	data, ids              []string
}

// rows reads the processed envelopes that stay, as the columns that they become.
func (i *ingest) rows(ctx context.Context) (blocks []*block, err error) {
	s, err := i.js.Stream(ctx, i.kept.config.Streams.Processed)
	if err != nil {
		return nil, err
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := c.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for n := range i.total {
		m, err := messages.Next()
		if err != nil {
			return nil, err
		}
		var e envelopev1.ProcessedEnvelope
		if err := proto.Unmarshal(m.Data(), &e); err != nil {
			return nil, err
		}
		text, err := store.AppendData(nil, &e)
		if err != nil {
			return nil, err
		}
		if n%blockSize == 0 {
			blocks = append(blocks, &block{})
		}
		b := blocks[len(blocks)-1]
		b.organizations, b.devices = append(b.organizations, e.OrganizationId), append(b.devices, e.EndDeviceId)
		b.occurred, b.processed = append(b.occurred, e.OccurredAt.AsTime()), append(b.processed, e.ProcessedAt.AsTime())
		b.data, b.ids = append(b.data, string(text)), append(b.ids, e.EnvelopeId)
	}
	return blocks, nil
}

// bareInsert is the limit of ingestion: the same rows, in the same blocks, in the same table,
// by as many writers, from columns that lie ready in memory. It leaves out both
// streams, the conversion, protobuf, the JSON text, the blocks' deduplication tokens
// and the acknowledgements.
func (i *ingest) bareInsert(ctx context.Context, r *Round, blocks []*block) error {
	if err := i.empty(ctx); err != nil {
		return err
	}
	var done atomic.Int64
	todo := make(chan *block, len(blocks))
	for _, b := range blocks {
		todo <- b
	}
	close(todo)
	var all errgroup.Group
	for range writers {
		all.Go(func() error {
			for b := range todo {
				if err := i.insert(ctx, b); err != nil {
					return err
				}
				done.Add(int64(len(b.ids)))
			}
			return nil
		})
	}
	err := measure(ctx, r, i.total, func(context.Context) (int, error) { return int(done.Load()), nil })
	if insertErr := all.Wait(); insertErr != nil {
		return insertErr
	}
	if err != nil {
		return err
	}
	return i.full(ctx)
}

func (i *ingest) insert(ctx context.Context, b *block) error {
	batch, err := i.db.PrepareBatch(ctx, "INSERT INTO processed_envelopes (organization_id, end_device_id, occurred_at, processed_at, data, envelope_id)")
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // after Send it is closed already
	for n, column := range []any{b.organizations, b.devices, b.occurred, b.processed, b.data, b.ids} {
		if err := batch.Column(n).Append(column); err != nil {
			return err
		}
	}
	return batch.Send()
}
