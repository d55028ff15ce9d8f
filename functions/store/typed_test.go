package store_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"ponix/functions/internal/functiontest"
	"ponix/runtime/runtimetest"
)

// TestTypedPaths has an operator give paths of the data types of their own: a row with a value
// of another type is refused, alone.
func TestTypedPaths(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	if err := e.db.Exec(t.Context(), "ALTER TABLE processed_envelopes MODIFY COLUMN data JSON(t Float64, o.n UInt8, s String, SKIP x)"); err != nil {
		t.Fatal(err)
	}
	data := []string{`{"t":1.5,"o":{"n":7},"s":"a","x":1}`, `{"t":"n/a"}`, `{"o":{"n":"x"}}`, `{"s":1.5}`, `{"other":true}`}
	for i, d := range data {
		err := e.write(t, made(t, fmt.Sprint("written", i), noon, d))
		if bad := i == 1 || i == 2; bad {
			functiontest.WantInvalid(t, err, "envelopes")
		} else if err != nil {
			t.Error(err)
		}
		encoded, err := proto.Marshal(made(t, fmt.Sprint("sent", i), noon, d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.PublishAsync("processed_envelopes.o.d", encoded); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		letters, err := e.js.Stream(t.Context(), "dead_letters")
		if err != nil {
			return err
		}
		if rows, dead := e.count(t, "FINAL"), letters.CachedInfo().State.Msgs; rows != 6 || dead != 2 {
			return fmt.Errorf("%d rows and %d dead letters", rows, dead)
		}
		return nil
	})
}
