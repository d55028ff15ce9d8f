package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Ensure creates the streams with their consumers, and updates those that exist
// with other limits. It may run in any number of processes at once.
func Ensure(ctx context.Context, js jetstream.JetStream, streams ...Stream) error {
	for _, s := range streams {
		stream, err := js.CreateOrUpdateStream(ctx, s.StreamConfig)
		if err != nil {
			return fmt.Errorf("stream %s: %w", s.Name, err)
		}
		for _, c := range s.Consumers {
			if _, err := stream.CreateOrUpdateConsumer(ctx, c); err != nil {
				return fmt.Errorf("stream %s: consumer %s: %w", s.Name, c.Durable, err)
			}
		}
	}
	return nil
}

// EnsureBuckets is Ensure for buckets.
func EnsureBuckets(ctx context.Context, js jetstream.JetStream, buckets ...jetstream.KeyValueConfig) error {
	for _, b := range buckets {
		if _, err := js.CreateOrUpdateKeyValue(ctx, b); err != nil {
			return fmt.Errorf("bucket %s: %w", b.Bucket, err)
		}
	}
	return nil
}
