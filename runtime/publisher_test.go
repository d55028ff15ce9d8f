package runtime_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime"
	"ponix/runtime/runtimetest"
)

// streamTakes is how many bytes a message may have, with its header.
const streamTakes = 64 << 10

// TestBatches publishes in atomic batches what is on the stream in part already, some of
// it too large, from several goroutines: each message is there once and is answered once,
// and what cannot be stored takes nothing else with it.
func TestBatches(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}, AllowAtomicPublish: true, MaxMsgSize: streamTakes})
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 4, 3_000
	for i := 0; i < publishers*each; i += 1_700 { // a duplicate here and there
		if _, err := js.Publish(t.Context(), "s.early", nil, jetstream.WithMsgID(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	p, err := runtime.NewPublisher(nc, 4_096, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	var mu sync.Mutex
	answers := map[int][]error{}
	publish := func(id int, data []byte) {
		m := &nats.Msg{Subject: "s.a", Data: data, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprint(id)}}}
		p.Publish(m, func(err error) {
			mu.Lock()
			answers[id] = append(answers[id], err)
			mu.Unlock()
		})
	}
	var all sync.WaitGroup
	for n := range publishers {
		all.Go(func() {
			for id := n * each; id < (n+1)*each; id++ {
				publish(id, make([]byte, map[int]int{2_000: int(nc.MaxPayload()), 1_000: streamTakes}[id%2_001]))
			}
		})
	}
	all.Wait()
	p.Await(4_096)
	const good = 2_000 // whose batches hold none that is refused
	for id := publishers * each; id < publishers*each+good; id++ {
		publish(id, nil)
	}
	p.Close()
	want := publishers*each + good
	for id := range want {
		if at := id % 2_001; id < publishers*each && (at == 1_000 || at == 2_000) {
			want--
			if got := answers[id]; len(got) != 1 || !errors.Is(got[0], nats.ErrMaxPayload) {
				t.Errorf("message %d, too large: %v", id, got)
			}
		} else if got := answers[id]; len(got) != 1 || got[0] != nil {
			t.Errorf("message %d: %v", id, got)
		}
	}
	batched := 0
	for n := uint64(want - good); n < uint64(want); n += 10 {
		m, err := s.GetMsg(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Nats-Batch-Id") != "" {
			batched++
		}
	}
	if batched < good/10/2 {
		t.Errorf("%d of %d messages came in a batch", batched, good/10)
	}
	info, err := s.Info(t.Context())
	if err != nil || int(info.State.Msgs) != want {
		t.Errorf("%d messages are stored, want %d, %v", info.State.Msgs, want, err)
	}
}

// TestBatchesThatFail holds that what no stream takes, or takes in no batches, or is
// never answered, fails, and that what follows is sent.
func TestBatchesThatFail(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("silence", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	p, err := runtime.NewPublisher(nc, 100, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	const each = 120
	for _, subject := range []string{"nobody.takes.it", "s", "silence", "nobody.takes.it"} {
		var mu sync.Mutex
		answered, failed := 0, 0
		for range each {
			p.Publish(&nats.Msg{Subject: subject}, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				answered++
				if err != nil {
					failed++
				}
			})
		}
		p.Await(100)
		// The first of all is alone, and the stream takes that one.
		if answered != each || failed < each-100 || subject != "s" && failed != each {
			t.Errorf("%s: %d of %d are answered, %d have failed", subject, answered, each, failed)
		}
	}
	p.Close()
}

// TestBatchesKeepTheOrderOfASubject publishes to many subjects in turn.
func TestBatchesKeepTheOrderOfASubject(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}, AllowAtomicPublish: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	const messages, subjects = 20_000, 701
	var failed atomic.Int64
	for i := range messages {
		p.Publish(&nats.Msg{Subject: fmt.Sprint("s.", i%subjects), Data: []byte(strconv.Itoa(i))}, func(err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	p.Close()
	if n := failed.Load(); n > 0 {
		t.Fatalf("%d messages have failed", n)
	}
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	next := [subjects]int{}
	for i := range next {
		next[i] = i
	}
	for i := 0; i < messages; {
		some, err := c.Fetch(messages, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		before := i
		for m := range some.Messages() {
			n, err := strconv.Atoi(string(m.Data()))
			if err != nil || n != next[n%subjects] {
				t.Fatalf("%s comes before %d", m.Data(), next[n%subjects])
			}
			next[n%subjects] += subjects
			i++
		}
		if i == before {
			t.Fatalf("there are %d of %d messages: %v", i, messages, some.Error())
		}
	}
}

// TestBatchesAfterSilence publishes into silence, so that what is queued behind a batch
// fails before it is sent. When answers come again, none waits for what was given up.
func TestBatchesAfterSilence(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, AllowAtomicPublish: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("silence", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	const window = 8
	p, err := runtime.NewPublisher(nc, window, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	for range 3 * window {
		p.Publish(&nats.Msg{Subject: "silence"}, func(error) {})
	}
	p.Await(window)
	for n := range 20 {
		answer := make(chan error, 1)
		p.Publish(&nats.Msg{Subject: "s"}, func(err error) { answer <- err })
		if err := <-answer; err != nil {
			t.Errorf("message %d: %v", n, err)
		}
	}
	p.Close()
}

// TestBatchIsLost has nobody answer a batch: what was queued behind it is sent when that has
// failed, although nobody publishes any more.
func TestBatchIsLost(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	_, next := receiver(t, nc)
	const timeout = 3 * time.Second
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, timeout)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	p.Publish(&nats.Msg{Subject: "s"}, func(error) {})
	next()
	time.Sleep(timeout * 2 / 3) // or both would fail at once
	p.Publish(&nats.Msg{Subject: "s", Data: []byte("queued")}, func(error) {})
	if m := next(); string(m.Data) != "queued" {
		t.Errorf("%q is sent", m.Data)
	}
	p.Abort()
	p.Close()
}

// TestBatchFailsAndEachIsTriedAgain has a full stream refuse a batch. When there is room, each
// of its messages can be published again, alone.
func TestBatchFailsAndEachIsTriedAgain(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, AllowAtomicPublish: true, MaxMsgs: 1, Discard: jetstream.DiscardNew})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	all := make([]*nats.Msg, 10)
	answers := make(chan error, len(all))
	for i := range all {
		all[i] = &nats.Msg{Subject: "s"}
		p.Publish(all[i], func(err error) { answers <- err })
	}
	for range all {
		if <-answers == nil {
			t.Error("a full stream has taken a message")
		}
	}
	for i, m := range all {
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Publish(m, func(err error) { answers <- err })
		if err := <-answers; err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	p.Close()
}

// receiver takes what is published to the subject s, in the place of a stream.
func receiver(t *testing.T, nc *nats.Conn) (sub *nats.Subscription, next func() *nats.Msg) {
	t.Helper()
	sub, err := nc.SubscribeSync("s")
	if err != nil {
		t.Fatal(err)
	}
	return sub, func() *nats.Msg {
		t.Helper()
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// TestBatchIsAnsweredLate has the answer to a batch come when its first message has failed,
// and may be on its way again: it is not sent with those that are tried one by one.
func TestBatchIsAnsweredLate(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	server, next := receiver(t, nc)
	const timeout = 6 * time.Second
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, timeout)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	failed := make(chan error, 1)
	p.Publish(&nats.Msg{Subject: "s", Data: []byte("alone")}, func(error) {})
	alone := next()
	p.Publish(&nats.Msg{Subject: "s", Data: []byte("first")}, func(err error) { failed <- err })
	time.Sleep(timeout / 3) // or both had failed at once
	p.Publish(&nats.Msg{Subject: "s", Data: []byte("last")}, func(error) {})
	if err := alone.Respond([]byte(`{"stream":"s","seq":1}`)); err != nil {
		t.Fatal(err)
	}
	next()
	commit := next()
	if err := <-failed; err == nil {
		t.Fatal("it was not answered")
	}
	if err := commit.Respond([]byte(`{"error":{"code":400,"err_code":10176},"stream":"","seq":0}`)); err != nil {
		t.Fatal(err)
	}
	p.Close() // the last one is answered by nobody
	for left, _, _ := server.Pending(); left > 0; left-- {
		if m := next(); string(m.Data) != "last" {
			t.Errorf("%q is sent again", m.Data)
		}
	}
}

// TestBatchIsRefused has the stream miss a part of a batch, as after a reconnect, or take all
// but one of its messages: each goes again, alone, and is answered by what becomes of that one.
func TestBatchIsRefused(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"incomplete": 10176, "one is stored already": 10201, "one is too large": 10054} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batchIsRefused(t, code)
		})
	}
}

func batchIsRefused(t *testing.T, code int) {
	nc := runtimetest.NATS(t)
	_, next := receiver(t, nc)
	respond := func(m *nats.Msg, answer string) {
		if err := m.Respond([]byte(answer)); err != nil {
			t.Fatal(err)
		}
	}
	const stored, refused = `{"stream":"s","seq":1}`, `{"error":{"code":503},"stream":"","seq":0}`
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	answers := make([]chan error, 4)
	for i := range answers { // the first goes alone, and the others as one batch when that is answered
		answers[i] = make(chan error, 2)
		p.Publish(&nats.Msg{Subject: "s", Data: []byte(strconv.Itoa(i))}, func(err error) { answers[i] <- err })
	}
	respond(next(), stored)
	next()
	next()
	commit := next()
	if commit.Header.Get("Nats-Batch-Commit") == "" {
		t.Fatalf("it is no batch: %v", commit.Header)
	}
	respond(commit, fmt.Sprintf(`{"error":{"code":400,"err_code":%d},"stream":"","seq":0}`, code))
	for i := 1; i < len(answers); i++ {
		m := next()
		if string(m.Data) != strconv.Itoa(i) || len(m.Header) > 0 {
			t.Errorf("%q comes with %v, not %d alone", m.Data, m.Header, i)
		}
		if i == 2 {
			respond(m, refused)
		} else {
			respond(m, stored)
		}
	}
	p.Close()
	for i, got := range answers {
		if err := <-got; (err == nil) != (i != 2) || len(got) > 0 {
			t.Errorf("message %d: %v, and %d answers more", i, err, len(got))
		}
	}
}

// TestBatchCannotBeSent has one message of a batch be larger than NATS takes: the others go
// alone, and each is answered by what becomes of that one.
func TestBatchCannotBeSent(t *testing.T) {
	t.Parallel()
	nc := runtimetest.NATS(t)
	_, next := receiver(t, nc)
	p, err := runtime.NewPublisher(nc, runtime.BatchWindow, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.InBatches()
	var answers [4]error
	for i := range answers { // the first goes alone
		m := &nats.Msg{Subject: "s", Data: []byte(strconv.Itoa(i))}
		if i == 2 {
			m.Data = make([]byte, nc.MaxPayload()+1)
		}
		p.Publish(m, func(err error) { answers[i] = err })
	}
	const stored, refused = `{"stream":"s","seq":1}`, `{"error":{"code":503},"stream":"","seq":0}`
	if err := next().Respond([]byte(stored)); err != nil {
		t.Fatal(err)
	}
	next() // what was sent of the batch
	second, fourth := next(), next()
	for _, err := range []error{fourth.Respond([]byte(stored)), second.Respond([]byte(refused))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	if answers[0] != nil || answers[1] == nil || !errors.Is(answers[2], nats.ErrMaxPayload) || answers[3] != nil {
		t.Errorf("got %v", answers)
	}
}
