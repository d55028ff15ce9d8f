package streams

import (
	"context"
	"errors"
	"reflect"

	"github.com/nats-io/nats.go/jetstream"
)

// stream returns the stream, made or changed where it has to be. It reads before
// it writes, so that a user who may not change streams can run functions on
// those that agree already.
func stream(ctx context.Context, js jetstream.JetStream, s Stream) (jetstream.Stream, error) {
	have, err := js.Stream(ctx, s.Name)
	if err == nil {
		s.Replicas = max(s.Replicas, have.CachedInfo().Config.Replicas) // see Ensure
	}
	if err == nil && streamsAgree(have.CachedInfo().Config, s.StreamConfig) {
		return have, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	return js.CreateOrUpdateStream(ctx, s.StreamConfig)
}

// consumer is the same of a stream's durable consumer.
func consumer(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) error {
	have, err := s.Consumer(ctx, want.Durable)
	if err == nil {
		want.Replicas = max(want.Replicas, have.CachedInfo().Config.Replicas) // see Ensure
	}
	if err == nil && consumersAgree(have.CachedInfo().Config, want) {
		return nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	_, err = s.CreateOrUpdateConsumer(ctx, want)
	return err
}

// bucket is the same of a bucket.
func bucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) error {
	have, err := js.KeyValue(ctx, want.Bucket)
	if err == nil {
		status, err := have.Status(ctx)
		if err != nil {
			return err
		}
		is := status.Config()
		want.Replicas = max(want.Replicas, is.Replicas) // see Ensure
		is.Metadata, is.MaxValueSize = want.Metadata, max(is.MaxValueSize, 0)
		if reflect.DeepEqual(is, want) {
			return nil
		}
	} else if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return err
	}
	_, err = js.CreateOrUpdateKeyValue(ctx, want)
	return err
}

// streamsAgree compares what a server has with what is wanted, but for what the
// server fills in. Where it does not know better, it says no: then the server
// decides.
func streamsAgree(have, want jetstream.StreamConfig) bool {
	have.Metadata = want.Metadata
	for _, limit := range []*int64{&have.MaxMsgs, &have.MaxBytes, &have.MaxMsgsPerSubject} {
		*limit = max(*limit, 0)
	}
	have.MaxConsumers = max(have.MaxConsumers, 0)
	have.MaxMsgSize = max(have.MaxMsgSize, 0)
	return reflect.DeepEqual(have, want)
}

// serverMaxWaiting is what a server sets where a consumer does not say how many
// requests for messages may wait.
const serverMaxWaiting = 512

// consumersAgree leaves out until when somebody has paused a consumer: the server remembers
// that for ever, and changes it for nobody who writes the rest.
func consumersAgree(have, want jetstream.ConsumerConfig) bool {
	have.Metadata, have.Name, have.PauseUntil = want.Metadata, want.Name, want.PauseUntil
	if want.MaxWaiting == 0 && have.MaxWaiting == serverMaxWaiting {
		have.MaxWaiting = 0
	}
	return reflect.DeepEqual(have, want)
}
