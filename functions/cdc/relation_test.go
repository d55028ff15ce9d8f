package cdc

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"ponix/nats/streams"
)

// Whatever a message holds, it is read or refused.
func FuzzChange(f *testing.F) {
	for _, seed := range []string{
		"N\x00\x05b\x00\x00\x00\x01ob\x00\x00\x00\x01nb\x00\x00\x00\x0812345678b\x00\x00\x00\x08\x7f\xff\xff\xff\xff\xff\xff\xffn",
		"N\x00\x05t\x00\x00\x00\x01on\x75nn", "O\x00\x05nnnnnN\x00\x05uuuuu", "O\x00\x05nnnnn", "K\x00\x05nnnnn", "N\x00\x05t\xff\xff\xff\xff", "N\x00\x01n", "N", "",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	e := entities(streams.Config{})[0]
	f.Fuzz(func(t *testing.T, data []byte, deleted bool) {
		r, err := relate(e, e.columns)
		if err != nil {
			t.Fatal(err)
		}
		if row, err := r.change(data, deleted); err == nil {
			if _, err := r.encode(row); err == nil && len(row) != len(e.columns) {
				t.Errorf("a row of %d columns", len(row))
			}
		}
	})
}

// TestPartlyLogged holds that a value which neither the new row has nor the old one is not
// taken for an empty one.
func TestPartlyLogged(t *testing.T) {
	t.Parallel()
	e := entities(streams.Config{})[0]
	r, err := relate(e, e.columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"O\x00\x05unnnnN\x00\x05unnnn", "N\x00\x05unnnn", "K\x00\x05nnnnnN\x00\x05nnnnn"} {
		if row, err := r.change([]byte(data), false); !errors.Is(err, errPartly) {
			t.Errorf("%q is %v, %v", data, row, err)
		}
	}
}

func TestRelateNeedsEveryColumn(t *testing.T) {
	t.Parallel()
	another := column{"another", pgtype.PointOID}
	for _, e := range entities(streams.Config{}) {
		if _, err := relate(e, append([]column{another}, e.columns...)); err != nil {
			t.Error(err)
		}
		for i, c := range e.columns {
			if _, err := relate(e, append([]column{another}, append(e.columns[:i:i], e.columns[i+1:]...)...)); err == nil {
				t.Errorf("%s is there without its column %s", e.table, c.name)
			}
			altered := slices.Clone(e.columns)
			altered[i].oid = pgtype.Int8OID // which has as many bytes as a time
			if _, err := relate(e, altered); err == nil || !strings.Contains(err.Error(), "column "+c.name+" of table "+e.table+" has the type int8, and must have ") {
				t.Errorf("%s with a number in %s: %v", e.table, c.name, err)
			}
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	order := []position{{0, 1}, {0, 2}, {1, 1}, {1, 2}, {1, 10}, {1<<32 + 1, 1}, {math.MaxUint64, math.MaxUint64}}
	for i, p := range order {
		got, ok := parseID(p.id("epoch.1"), "epoch.1")
		if !ok || got != p {
			t.Errorf("%v became %v, %v", p, got, ok)
		}
		if _, ok := parseID(p.id("epoch.12"), "epoch.1"); ok {
			t.Error("another epoch's id is taken")
		}
		for j, q := range order {
			if p.after(q) != (i > j) {
				t.Errorf("%v after %v: %v", p, q, p.after(q))
			}
		}
	}
	for _, bad := range []string{"", "epoch.1", "epoch.1-", "epoch.1-0/1", "epoch.1-x-1", "epoch.1-0/1-x"} {
		if p, ok := parseID(bad, "epoch.1"); ok {
			t.Errorf("%q is %v", bad, p)
		}
	}
}

// Nothing is confirmed past an event that has no acknowledgement.
func TestProgress(t *testing.T) {
	t.Parallel()
	var p progress
	want := func(lsn uint64) {
		t.Helper()
		if got, _ := p.confirmable(); uint64(got) != lsn {
			t.Errorf("%d may be confirmed, want %d", got, lsn)
		}
	}
	p.reached(5)
	want(5)
	first := p.begin(timeOf(1))
	first.missing.Add(2)
	p.acknowledged([]*transaction{first})
	p.reached(7) // in the middle of a transaction: says nothing
	want(5)
	p.commit(first, 10)
	want(5)
	second := p.begin(timeOf(2))
	second.missing.Add(1)
	p.acknowledged([]*transaction{second})
	p.commit(second, 20)
	p.reached(25)
	want(5)
	if _, waiting := p.confirmable(); !waiting.Equal(timeOf(1)) {
		t.Errorf("waiting since %v", waiting)
	}
	p.acknowledged([]*transaction{first})
	want(25)
	if p.events.Load() != 3 {
		t.Errorf("%d events", p.events.Load())
	}
}

func timeOf(n int64) time.Time { return time.Unix(n, 0) }
