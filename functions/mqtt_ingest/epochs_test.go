package mqttingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestNothingIsForgottenInTwoTakeovers is about a message that stays
// unacknowledged while two owners die, the second with something new.
func TestNothingIsForgottenInTwoTakeovers(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	old := mustID(t, first, sent(1000, "20.5", false))
	second := begin(t, kv, nil, true)
	if got := mustID(t, second, sent(1000, "20.5", true)); got != old {
		t.Errorf("got %s, want %s", got, old)
	}
	second.acknowledged(1000, old) // in vain
	newer := mustID(t, second, sent(1, "20.5", false))
	for range 3 {
		next := begin(t, kv, nil, true)
		for want, packet := range map[string]uint16{old: 1000, newer: 1} {
			if got := mustID(t, next, sent(packet, "20.5", true)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		mustID(t, next, sent(2, "20.5", false))
	}
}

// TestStoppedOwnerNamesNothing is about an owner that was stopped with a message
// of its connection unread, and goes on when the next one has named it.
func TestStoppedOwnerNamesNothing(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	mustID(t, first, sent(1, "20.5", false))
	stopped := begin(t, kv, nil, true)
	next := begin(t, kv, nil, true)
	mustID(t, next, sent(2, "20.5", true))
	if id, err := stopped.of(t.Context(), sent(2, "20.5", false)); !errors.Is(err, errOtherOwner) {
		t.Errorf("got %s, %v", id, err)
	}
}

// TestPacketIDsOfOldEpochsComeAnew holds that a packet id which is taken out of
// the record stays out.
func TestPacketIDsOfOldEpochsComeAnew(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	one, two := mustID(t, first, sent(1, "x", false)), mustID(t, first, sent(2, "x", false))
	second := begin(t, kv, nil, true)
	mustID(t, second, sent(1, "x", true))
	mustID(t, second, sent(2, "x", true))
	mustID(t, second, sent(3, "x", false))
	second.acknowledged(1, one)
	again := mustID(t, second, sent(1, "x", false))
	third := begin(t, kv, nil, true)
	for want, packet := range map[string]uint16{again: 1, two: 2} {
		if got := mustID(t, third, sent(packet, "x", true)); got != want || got == one {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// scripted is a broker that keeps its packet ids and its session.
type scripted struct {
	anew   bool // counts from one again with each connection
	late   bool // sends again after what is new
	last   uint16
	open   []scriptedMessage // sent, not acknowledged, in order
	number int
}

type scriptedMessage struct {
	packet uint16
	number int
}

func (b *scripted) next() scriptedMessage {
	for {
		if b.last++; b.last == 0 {
			b.last = 1
		}
		if !slices.ContainsFunc(b.open, func(m scriptedMessage) bool { return m.packet == b.last }) {
			break
		}
	}
	b.number++
	m := scriptedMessage{b.last, b.number}
	b.open = append(b.open, m)
	return m
}

// TestOneIDThroughAnyOwners lets owners die at random, with what they have read
// of a connection, and with what they have acknowledged in vain: each message has
// one id, and no two the same. All have the same content.
func TestOneIDThroughAnyOwners(t *testing.T) {
	t.Parallel()
	kv := records(t)
	for name, b := range map[string]*scripted{
		"counts on": {}, "counts on, at the end": {last: 65000}, "counts anew": {anew: true}, "sends again late": {late: true, last: 65000},
	} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) { b.torment(t, kv, rand.New(rand.NewPCG(seed, 0)), name+fmt.Sprint(seed)) })
		}
	}
}

func (b *scripted) torment(t *testing.T, kv jetstream.KeyValue, r *rand.Rand, gateway string) {
	start := *b
	ids, numbers := map[int]string{}, map[string]int{}
	for connection := range 50 {
		i := &identity{kv: kv, gateway: fmt.Sprintf("g%x", gateway)}
		if err := i.begin(t.Context(), connection > 0); err != nil {
			t.Fatal(err)
		}
		if start.anew {
			start.last = 0
		}
		deliver := func(m scriptedMessage, duplicate bool) {
			id := mustID(t, i, sent(m.packet, "20.5", duplicate))
			if was, named := ids[m.number]; named && was != id {
				t.Fatalf("connection %d: message %d has the ids %s and %s", connection, m.number, was, id)
			}
			if other, taken := numbers[id]; taken && other != m.number {
				t.Fatalf("connection %d: messages %d and %d have the id %s", connection, other, m.number, id)
			}
			ids[m.number], numbers[id] = id, m.number
		}
		again := slices.Clone(start.open)
		fresh := r.IntN(40)
		if !start.late { // an owner that dies may not have read all
			read := again
			if r.IntN(3) == 0 {
				read, fresh = again[:r.IntN(len(again)+1)], 0
			}
			for _, m := range read {
				deliver(m, true)
			}
		}
		for range fresh {
			deliver(start.next(), false)
			if n := len(start.open); n > 0 && r.IntN(2) == 0 { // the oldest, as MQTT has it
				m := start.open[0]
				i.acknowledged(m.packet, ids[m.number])
				if r.IntN(4) > 0 && !start.late {
					start.open = start.open[1:]
				}
			}
		}
		if !start.anew { // else it is as the package says
			for range r.IntN(5) { // sent, and never read
				start.next()
			}
		}
		if start.late && r.IntN(2) == 0 {
			for _, m := range again {
				deliver(m, true)
				i.acknowledged(m.packet, ids[m.number])
				start.open = start.open[1:]
			}
		}
	}
}

// TestLostAnswers writes the record without being told so.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	old := mustID(t, i, sent(7, "x", false))
	begin(t, kv, i, true)
	i.acknowledged(7, old)
	mustID(t, i, sent(7, "x", true))
	i.kv = silent{kv}
	if _, err := i.of(t.Context(), sent(8, "x", false)); err == nil {
		t.Fatal("no error")
	}
	i.kv = kv
	if _, err := i.of(t.Context(), sent(8, "x", false)); !errors.Is(err, errOtherOwner) {
		t.Errorf("got %v", err)
	}
	begin(t, kv, i, true)
	if got := mustID(t, i, sent(7, "x", true)); got != old {
		t.Errorf("got %s, want %s", got, old)
	}
	newer := mustID(t, i, sent(8, "x", true))
	next := begin(t, kv, nil, true)
	if got := mustID(t, next, sent(8, "x", true)); got != newer {
		t.Errorf("got %s, want %s", got, newer)
	}
}

// silent writes, and loses the answer.
type silent struct{ jetstream.KeyValue }

func (s silent) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if _, err := s.KeyValue.Update(ctx, key, value, revision); err != nil {
		return 0, err
	}
	return 0, context.DeadlineExceeded
}
