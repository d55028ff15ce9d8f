package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"google.golang.org/protobuf/proto"

	"ponix/runtime/runtimetest"
)

// TestLittleMemory holds that a backlog gets in where ClickHouse's user has less memory than
// a block takes that is as large as it may be.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	e := startWith(t, 1<<26, func(o *clickhouse.Options) { o.Settings["max_memory_usage"] = 8 << 20 })
	const n = 1000
	for i := range n {
		data, err := proto.Marshal(made(t, fmt.Sprint(i), noon, `{"l":[1,2],"s":"`+strings.Repeat("x", 8000)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.PublishAsync("processed_envelopes.o.d", data); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if got := e.count(t, "FINAL"); got != n {
			return fmt.Errorf("%d rows", got)
		}
		return nil
	})
}
