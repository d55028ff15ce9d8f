package streams

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// stream returns the stream, made or changed where it has to be. It reads before
// it writes, so that a user who may not change streams can run functions on
// those that agree already.
func stream(ctx context.Context, js jetstream.JetStream, s Stream) (jetstream.Stream, error) {
	have, err := js.Stream(ctx, s.Name)
	what := ""
	if err == nil {
		is := have.CachedInfo().Config
		s.Replicas = max(s.Replicas, is.Replicas) // see Ensure
		if what = streamsDiffer(is, s.StreamConfig); what == "" {
			return have, nil
		}
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	made, err := js.CreateOrUpdateStream(ctx, s.StreamConfig)
	return made, changing(what, err)
}

// consumer is the same of a stream's durable consumer.
func consumer(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) error {
	have, err := s.Consumer(ctx, want.Durable)
	what := ""
	if err == nil {
		is := have.CachedInfo().Config
		want.Replicas = max(want.Replicas, is.Replicas) // see Ensure
		if what = consumersDiffer(is, want); what == "" {
			return nil
		}
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	_, err = s.CreateOrUpdateConsumer(ctx, want)
	return changing(what, err)
}

// bucket is the same of a bucket.
func bucket(ctx context.Context, js jetstream.JetStream, want jetstream.KeyValueConfig) error {
	have, err := js.KeyValue(ctx, want.Bucket)
	what := ""
	if err == nil {
		status, err := have.Status(ctx)
		if err != nil {
			return err
		}
		is := status.Config()
		want.Replicas = max(want.Replicas, is.Replicas) // see Ensure
		is.Metadata, is.MaxValueSize = want.Metadata, max(is.MaxValueSize, 0)
		if what = difference(is, want); what == "" {
			return nil
		}
	} else if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return err
	}
	_, err = js.CreateOrUpdateKeyValue(ctx, want)
	return changing(what, err)
}

// errChange is that of a change which failed, with what is not as it is wanted.
type errChange struct {
	what string
	error
}

func (e errChange) Error() string { return e.what + ": " + e.error.Error() }
func (e errChange) Unwrap() error { return e.error }

// changing is err, where there is one, with what was to be changed.
func changing(what string, err error) error {
	if what == "" || err == nil {
		return err
	}
	return errChange{what, err}
}

// difference tells which fields of two structs differ, and is empty where none does.
func difference[T any](have, want T) string {
	var differ []string
	h, w := reflect.ValueOf(have), reflect.ValueOf(want)
	for i := range h.NumField() {
		if is, should := h.Field(i).Interface(), w.Field(i).Interface(); !reflect.DeepEqual(is, should) {
			differ = append(differ, fmt.Sprintf("%s is %v, not %v", h.Type().Field(i).Name, is, should))
		}
	}
	return strings.Join(differ, ", ")
}

// streamsDiffer compares what a server has with what is wanted, but for what the
// server fills in. Where it does not know better, it says that they differ: then the
// server decides.
func streamsDiffer(have, want jetstream.StreamConfig) string {
	have.Metadata = want.Metadata
	for _, limit := range []*int64{&have.MaxMsgs, &have.MaxBytes, &have.MaxMsgsPerSubject} {
		*limit = max(*limit, 0)
	}
	have.MaxConsumers = max(have.MaxConsumers, 0)
	have.MaxMsgSize = max(have.MaxMsgSize, 0)
	return difference(have, want)
}

// serverMaxWaiting is what a server sets where a consumer does not say how many
// requests for messages may wait.
const serverMaxWaiting = 512

// consumersDiffer leaves out until when somebody has paused a consumer: the server remembers
// that for ever, and changes it for nobody who writes the rest.
func consumersDiffer(have, want jetstream.ConsumerConfig) string {
	have.Metadata, have.Name, have.PauseUntil = want.Metadata, want.Name, want.PauseUntil
	if want.MaxWaiting == 0 && have.MaxWaiting == serverMaxWaiting {
		have.MaxWaiting = 0
	}
	return difference(have, want)
}
