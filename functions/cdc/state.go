package cdc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"

	"ponix/nats/streams"
	"ponix/runtime"
)

// state is how far change data capture is, as the owner of the slot keeps it in
// NATS, beside the streams: whoever loses those loses it as well, and gets a
// fresh snapshot.
type state struct {
	Generation string        `json:"generation"` // a new one with each slot
	System     string        `json:"system"`     // the PostgreSQL cluster's id
	Timeline   string        `json:"timeline"`   // of its log; empty: not known
	Complete   bool          `json:"complete"`   // the snapshot is on the streams
	Confirmed  pglogrepl.LSN `json:"confirmed"`  // never behind what PostgreSQL was told
	Published  string        `json:"published"`  // how to know the publication again that the slot is read by; empty: not yet

	Owner     string    `json:"owner"` // instance
	PID       uint32    `json:"pid"`   // of the owner's session in PostgreSQL
	Events    uint64    `json:"events"`
	LastEvent time.Time `json:"last_event,omitzero"`
	Waiting   time.Time `json:"waiting,omitzero"` // commit of the oldest transaction that is not confirmed
	Written   time.Time `json:"written"`

	revision uint64
}

// failure is the last error of any instance.
type failure struct {
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
	Text     string    `json:"text"`
}

// keeper keeps the state of one slot.
type keeper struct {
	js     jetstream.JetStream
	config jetstream.KeyValueConfig
	slot   string
}

const (
	keepTimeout = 5 * time.Second
	// saveTimeout is less than wal_sender_timeout: PostgreSQL hears nothing meanwhile, and
	// would hang up on an owner whose NATS is silent.
	saveTimeout = 3 * time.Second
)

var errTakenOver = errors.New("the state was written meanwhile: another instance has taken over, or the answer to a write was lost")

func (k keeper) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := k.js.KeyValue(ctx, k.config.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) { // somebody has deleted it
		kv, err = k.js.CreateOrUpdateKeyValue(ctx, k.config)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", k.config.Bucket, err)
	}
	return kv, nil
}

// load returns the state, an empty one where there is none.
func (k keeper) load(ctx context.Context) (*state, error) {
	s := &state{}
	return s, k.read(ctx, k.slot, s, &s.revision)
}

// lastFailure returns the last failure, an empty one where there was none.
func (k keeper) lastFailure(ctx context.Context) (failure, error) {
	var f failure
	return f, k.read(ctx, k.slot+".failure", &f, new(uint64))
}

func (k keeper) read(ctx context.Context, key string, to any, revision *uint64) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	kv, err := k.bucket(ctx)
	if err != nil {
		return err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	*revision = entry.Revision()
	if err := json.Unmarshal(entry.Value(), to); err != nil {
		return runtime.Error(codes.FailedPrecondition, "STATE_UNREADABLE", "key %s of bucket %s holds what cdc has not written there (%v): delete the key, and a fresh snapshot follows where it was the state", key, kv.Bucket(), err)
	}
	return nil
}

// save writes the state, unless somebody else did since it was read.
func (k keeper) save(ctx context.Context, s *state) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	err := k.write(ctx, s)
	if errors.Is(err, context.DeadlineExceeded) { // which in the log would be a caller's
		return fmt.Errorf("write the state: NATS is silent for %v: %w", saveTimeout, nats.ErrTimeout)
	}
	return err
}

func (k keeper) write(ctx context.Context, s *state) error {
	kv, err := k.bucket(ctx)
	if err != nil {
		return err
	}
	s.Written = time.Now().UTC()
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var revision uint64
	if s.revision == 0 { // also where it was deleted
		revision, err = kv.Create(ctx, k.slot, data)
	} else {
		revision, err = kv.Update(ctx, k.slot, data, s.revision)
	}
	if streams.Overtaken(err) {
		return errTakenOver
	}
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	s.revision = revision
	return nil
}

// fail notes a failure, if NATS is there to take it.
func (k keeper) fail(ctx context.Context, instance string, cause error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	kv, err := k.bucket(ctx)
	if err != nil {
		return
	}
	if data, err := json.Marshal(failure{instance, time.Now().UTC(), cause.Error()}); err == nil {
		kv.Put(ctx, k.slot+".failure", data) //nolint:errcheck // the log has it
	}
}
