package store_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/runtimetest"
)

// TestExactInEachOthersLists holds that integers beyond 2^53 stay exact in lists although
// each row has fractions where the other has them, so that no order of both in a block is
// right.
func TestExactInEachOthersLists(t *testing.T) {
	t.Parallel()
	e := start(t, 1<<20)
	texts := []string{`{"a":[9007199254740993],"b":[1.5]}`, `{"a":[1.5],"b":[9007199254740993]}`, `{"o":[{"a":[9007199254740995]}],"p":[{"a":[1.5]}]}`, `{"o":[{"a":[1.5]}],"p":[{"a":[18446744073709551615]}]}`}
	const times = 5
	for n := range times * len(texts) {
		m := made(t, fmt.Sprint(n), noon.Add(time.Duration(n)*time.Second), `{}`)
		m.Data, m.DataJson = nil, []byte(texts[n%len(texts)])
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.js.PublishAsync("processed_envelopes.o.d", data); err != nil {
			t.Fatal(err)
		}
	}
	runtimetest.Eventually(t, 20*time.Second, func() error {
		if n := e.count(t, "FINAL"); n != uint64(times*len(texts)) {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	got := e.list(t, &envelopev1.ListProcessedEnvelopesRequest{}).Envelopes
	for n, g := range got {
		if was := texts[(len(got)-1-n)%len(texts)]; string(g.DataJson) != was {
			t.Errorf("%s became %s", was, g.DataJson)
		}
	}
}
