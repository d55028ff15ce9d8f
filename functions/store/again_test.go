package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/runtime/runtimetest"
)

// TestBlockIsWrittenAgain holds that what comes again is written, whatever ClickHouse has
// noted of a block that was the same: it may be there no more, or have failed on its way.
func TestBlockIsWrittenAgain(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	data, err := proto.Marshal(made(t, "1", noon, `{"n":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.js.Publish(t.Context(), "processed_envelopes.o.d", data); err != nil {
			t.Fatal(err)
		}
		runtimetest.Eventually(t, time.Minute, func() error {
			if n := e.count(t, "FINAL"); n != 1 {
				return fmt.Errorf("%d rows", n)
			}
			return nil
		})
		if err := e.db.Exec(t.Context(), "DELETE FROM processed_envelopes WHERE envelope_id = '1'"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWithoutID has envelopes of one moment, which somebody else has put on the stream
// without ids: each is a row, and the one that comes again is the same.
func TestWithoutID(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<26)
	for i, n := range []int{1, 2, 1, 3} {
		data := fmt.Appendf(nil, `{"organizationId":"o","endDeviceId":"d","occurredAt":"2026-05-04T12:00:00Z","data":{"n":%d}}`, n)
		if _, err := e.js.Publish(t.Context(), "processed_envelopes.o.d", data, jetstream.WithMsgID(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, time.Minute, func() error {
		if n, three := e.count(t, "FINAL"), e.count(t, "FINAL WHERE data.n = 3"); n != 3 || three != 1 {
			return fmt.Errorf("%d rows, and of the last %d", n, three)
		}
		return nil
	})
}
