package mqttingest

import "testing"

// TestLostSessionIsForgotten has a broker lose the session with a message that is not acknowledged,
// and count from one again: the next one with the same content is another.
func TestLostSessionIsForgotten(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	old := mustID(t, i, sent(1, "20.5", false))
	begin(t, kv, i, false)
	next := mustID(t, i, sent(1, "20.5", false))
	if next == old {
		t.Errorf("both are %s", next)
	}
	// Nor is what it marks without having sent it before, also after something new.
	begin(t, kv, i, false)
	mustID(t, i, sent(2, "20.5", false))
	if got := mustID(t, i, sent(1, "20.5", true)); got == next {
		t.Errorf("a marked one, and one before, are %s", got)
	}
}

// TestCountsAnewAndSendsAgainLate has a broker give a low packet id to something new before it
// sends a higher one again: that has its id, for the owner after that as well.
func TestCountsAnewAndSendsAgainLate(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	one, five := mustID(t, first, sent(1, "20.5", false)), mustID(t, first, sent(5, "20.5", false))
	first.acknowledged(1, one)
	second := begin(t, kv, nil, true)
	fresh := mustID(t, second, sent(1, "20.5", false))
	for i := second; ; i = begin(t, kv, nil, true) {
		if got := mustID(t, i, sent(5, "20.5", true)); got != five {
			t.Errorf("got %s, want %s", got, five)
		}
		if got := mustID(t, i, sent(1, "20.5", true)); got != fresh || got == one {
			t.Errorf("got %s, want %s", got, fresh)
		}
		if i != second {
			break
		}
	}
}

// TestShortLaps has a broker with few packet ids, which are enough for none to come again quickly:
// what it sends again is known.
func TestShortLaps(t *testing.T) {
	t.Parallel()
	i := begin(t, records(t), nil, false)
	seen := map[string]bool{}
	const ids = quickly + 100
	for n := range 2 * ids {
		packet := uint16(n%ids + 1)
		id := mustID(t, i, sent(packet, "20.5", false))
		seen[id] = true
		i.acknowledged(packet, id)
	}
	if len(seen) != 2*ids || i.saved.Reuses {
		t.Errorf("%d ids for %d messages, %+v", len(seen), 2*ids, i.saved)
	}
}

// TestUnmarkedRepetition has a broker send again what is not acknowledged without saying so: a
// packet id is in use until then, also on the next connection.
func TestUnmarkedRepetition(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	want := mustID(t, i, sent(1, "20.5", false))
	for range 2 {
		if got := mustID(t, i, sent(1, "20.5", false)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		begin(t, kv, i, true)
	}
}

// TestManyOutstanding has a broker send again late: an owner that dies has heard of something new
// only, and the next one still knows all that the one before it had not acknowledged.
func TestManyOutstanding(t *testing.T) {
	t.Parallel()
	kv := records(t)
	first := begin(t, kv, nil, false)
	ids := map[uint16]string{}
	for p := uint16(1); p <= outstanding; p++ {
		ids[p] = mustID(t, first, sent(p, "20.5", false))
	}
	mustID(t, begin(t, kv, nil, true), sent(outstanding+1, "20.5", false))
	third := begin(t, kv, nil, true)
	for p, want := range ids {
		if got := mustID(t, third, sent(p, "20.5", true)); got != want {
			t.Fatalf("packet %d: got %s, want %s", p, got, want)
		}
	}
}

// TestHalfLap has an owner die just after it has begun another epoch by itself: what it had not
// acknowledged is of both, and has its ids.
func TestHalfLap(t *testing.T) {
	t.Parallel()
	kv := records(t)
	i := begin(t, kv, nil, false)
	began := i.saved.Epoch
	ids := map[uint16]string{}
	for p := uint16(1); p < halfLap+50; p++ {
		id := mustID(t, i, sent(p, "20.5", false))
		if ids[p] = id; p < halfLap-50 {
			i.acknowledged(p, id)
			delete(ids, p)
		}
	}
	if i.saved.Epoch != began+2 {
		t.Fatalf("it has begun %d epochs", i.saved.Epoch-began)
	}
	next := begin(t, kv, nil, true)
	for p, want := range ids {
		if got := mustID(t, next, sent(p, "20.5", true)); got != want {
			t.Errorf("packet %d: got %s, want %s", p, got, want)
		}
	}
}
