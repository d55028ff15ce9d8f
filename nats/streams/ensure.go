package streams

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// oldest is the first nats-server that has all that is used here: with the one before, a
// message that has an id cannot be in an atomic batch.
var oldest = []int{2, 12, 1}

// Supported is an error where the server is too old. One that does not say which version it
// has is taken.
func Supported(nc *nats.Conn) error {
	version, have := nc.ConnectedServerVersion(), make([]int, 3)
	n, _ := fmt.Sscanf(version, "%d.%d.%d", &have[0], &have[1], &have[2])
	if n == len(have) && slices.Compare(have, oldest) < 0 {
		return fmt.Errorf("the NATS server %q is nats-server %s, and %d.%d.%d or newer is needed", nc.ConnectedServerName(), version, oldest[0], oldest[1], oldest[2])
	}
	return nil
}

// MaxPayload is how many bytes a NATS server should take in a message, its max_payload: a
// page of a list is one, and so is a large result as a google.protobuf.Struct. A server
// that is not configured takes 1 MiB.
const MaxPayload = 8 << 20

// electing is how long a cluster may take to elect the leader of a stream, after
// which an answer that does not come is an error.
const electing = 30 * time.Second

// Ensure creates the streams with their consumers, and updates those that exist
// with other limits, all at a time. It may run in any number of processes at once.
//
// Replicas only become more: an instance that does not know of the cluster must not take
// away, in passing, what keeps messages where a node is lost.
func Ensure(ctx context.Context, js jetstream.JetStream, streams ...Stream) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range streams {
		group.Go(func() error {
			if err := untilElected(ctx, js, s.Name, func(ctx context.Context) error { return ensure(ctx, js, s) }); err != nil {
				return fmt.Errorf("stream %s: %w", s.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func ensure(ctx context.Context, js jetstream.JetStream, s Stream) error {
	made, err := stream(ctx, js, s)
	if err != nil {
		return err
	}
	for _, c := range s.Consumers {
		if err := consumer(ctx, made, c); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Durable, err)
		}
	}
	return nil
}

// EnsureBuckets is Ensure for buckets.
func EnsureBuckets(ctx context.Context, js jetstream.JetStream, buckets ...jetstream.KeyValueConfig) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, b := range buckets {
		group.Go(func() error {
			if err := untilElected(ctx, js, "KV_"+b.Bucket, func(ctx context.Context) error { return bucket(ctx, js, b) }); err != nil {
				return fmt.Errorf("bucket %s: %w", b.Bucket, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// untilElected calls f for a stream, and again while a cluster elects. Where the server has
// refused a request for another stream, that one's caller has the error.
func untilElected(ctx context.Context, js jetstream.JetStream, stream string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, electing)
	defer cancel()
	try := func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		err := f(ctx)
		if ofAnother(js.Conn().LastError(), stream) {
			return err
		}
		return Refused(js.Conn(), err)
	}
	err := try()
	for err != nil && Unanswered(err) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
			if again := try(); ctx.Err() == nil {
				err = again
			}
		}
	}
	return explained(err)
}

// ofAnother tells whether what the server has said is of a request for another stream.
func ofAnother(said error, stream string) bool {
	if said == nil || !strings.Contains(said.Error(), `"$JS.`) {
		return false
	}
	return !slices.Contains(strings.FieldsFunc(said.Error(), func(r rune) bool { return r == '.' || r == '"' }), stream)
}

// Refused is err, but where a user who may not ask waits in vain for an answer what the
// server has said of that.
func Refused(nc *nats.Conn, err error) error {
	said := nc.LastError()
	if err == nil || !Unanswered(err) || !errors.Is(said, nats.ErrPermissionViolation) {
		return err
	}
	var change errChange
	if errors.As(err, &change) {
		said = errChange{change.what, said}
	}
	return fmt.Errorf("%w: `ponix streams`, as a user who may, makes streams and buckets with the limits that are configured, which have to be the same here", said)
}

// What a server says that has no room for all that a stream may hold, one without a
// cluster of replicas, and one whose account may not have so many messages on their way.
const (
	insufficientStorage  = 10047
	replicasNotSupported = 10074
	maxAckPendingExceeds = 10121
)

// explained says what to do about an error that does not.
func explained(err error) error {
	var api *jetstream.APIError
	switch {
	case !errors.As(err, &api):
	case api.ErrorCode == replicasNotSupported:
		return fmt.Errorf("%w: PONIX_NATS_REPLICAS is above 1, and the server is in no cluster", err)
	case api.ErrorCode == maxAckPendingExceeds:
		return fmt.Errorf("%w: set PONIX_NATS_MAX_ACK_PENDING to that", err)
	case api.ErrorCode == insufficientStorage:
		return fmt.Errorf("%w: the server sets aside what all streams and buckets may hold, 3.4 GiB, PONIX_NATS_DEAD_LETTERS_MAX_BYTES and twice PONIX_NATS_STREAM_MAX_BYTES. Give it a disk with more room or a larger max_file_store, or lower these", err)
	}
	return err
}

// replicasExceedStream is what a cluster says to a consumer's replicas until it has given
// the stream as many.
const replicasExceedStream = 10126

// Unanswered tells whether err says no more than that there is no answer now: the
// connection is being made again, or a cluster has not elected a leader yet, and says
// so, or nothing.
func Unanswered(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		if api.ErrorCode == replicasExceedStream {
			return true
		}
		return api.Code == http.StatusServiceUnavailable && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabled && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount
	}
	return slices.ContainsFunc([]error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
	}, func(e error) bool { return errors.Is(err, e) })
}
