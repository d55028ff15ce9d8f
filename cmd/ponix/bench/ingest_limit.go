package bench

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
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
	delay     = 250 * time.Millisecond
)

// block is the columns of an insert.
type block struct {
	organizations, devices []string
	occurred, processed    []time.Time
	text, ids              []string
	values                 []map[string]any // by path
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
		b.text, b.ids = append(b.text, string(text)), append(b.ids, e.EnvelopeId)
		b.values = append(b.values, paths(map[string]any{}, "", e.Data.AsMap()))
	}
	return blocks, nil
}

// paths adds the members of an object by their paths.
func paths(to map[string]any, prefix string, object map[string]any) map[string]any {
	for k, v := range object {
		if inner, ok := v.(map[string]any); ok {
			paths(to, prefix+k+".", inner)
		} else {
			to[prefix+k] = v
		}
	}
	return to
}

// bareInsert is the limit of ingestion: the same rows, in the same blocks, in the same table,
// by as many writers, from columns that lie ready in memory: the JSON column as text, as
// everybody inserts it, or as values by path, as Ponix does. It leaves out both
// streams, the conversion, protobuf, the making of text or paths, the blocks'
// deduplication tokens and the acknowledgements.
func (i *ingest) bareInsert(ctx context.Context, r *Round, blocks []*block, insert func(context.Context, *block) error) error {
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
				if err := insert(ctx, b); err != nil {
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

// bareAlone is the limit of a row alone: the delay, and the insert of one row from memory.
func (i *ingest) bareAlone(ctx context.Context, r *Round) error {
	if err := i.empty(ctx); err != nil {
		return err
	}
	return i.oneByOne(ctx, r, func(id string) error {
		time.Sleep(delay)
		now := []time.Time{time.Now()}
		return i.insertText(ctx, &block{[]string{"o"}, []string{"d"}, now, now, []string{"{}"}, []string{id}, nil})
	})
}

func (i *ingest) insertText(ctx context.Context, b *block) error {
	return i.insert(ctx, b, func(data *column.JSON) error {
		_, err := data.Append(b.text)
		return err
	})
}

func (i *ingest) insertValues(ctx context.Context, b *block) error {
	return i.insert(ctx, b, func(data *column.JSON) error {
		row := clickhouse.NewJSON()
		for _, values := range b.values {
			clear(row.ValuesByPath()) // the column adds to it
			maps.Copy(row.ValuesByPath(), values)
			if err := data.AppendRow(row); err != nil {
				return err
			}
		}
		return nil
	})
}

func (i *ingest) insert(ctx context.Context, b *block, data func(*column.JSON) error) error {
	batch, err := i.db.PrepareBatch(ctx, "INSERT INTO processed_envelopes (organization_id, end_device_id, occurred_at, processed_at, envelope_id, data)")
	if err != nil {
		return err
	}
	defer batch.Close() //nolint:errcheck // after Send it is closed already
	columns := []any{b.organizations, b.devices, b.occurred, b.processed, b.ids}
	for n, values := range columns {
		if err := batch.Column(n).Append(values); err != nil {
			return err
		}
	}
	if err := data(batch.Columns()[len(columns)].(*column.JSON)); err != nil {
		return err
	}
	return batch.Send()
}
