package cdc

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"ponix/nats/streams"
)

// pass is a reader whose streams have everything already: it publishes nothing.
func pass() *reader {
	o := &owner{capture: &capture{entities: entities(streams.Config{})}, tables: map[uint32]*entity{}, outlets: map[*entity]*outlet{}}
	for _, e := range o.entities {
		o.outlets[e] = &outlet{Stream: e.stream, stored: position{math.MaxUint64, math.MaxUint64}}
	}
	o.tables[7] = o.entities[0]
	return &reader{owner: o, relations: map[uint32]*relation{}}
}

// slotMessages splits what a fuzzer makes: each message has its length before it.
func slotMessages(data []byte) (all [][]byte) {
	for len(data) >= 2 {
		n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
		all, data = append(all, data[2:2+n]), data[2+n:]
	}
	return all
}

// FuzzSlot holds the reading of a slot to: whatever PostgreSQL sends is handled or is
// an error that says what is wrong, and after each whole transaction nothing is open.
func FuzzSlot(f *testing.F) {
	for _, messages := range transactions() {
		var data []byte
		for _, m := range messages {
			data = append(binary.BigEndian.AppendUint16(data, uint16(len(m))), m...)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := pass()
		for _, m := range slotMessages(data) {
			if err := r.copied(t.Context(), m); err != nil {
				if strings.TrimSpace(err.Error()) == "" {
					t.Fatal("an error that says nothing")
				}
				return
			}
			if r.tx != nil {
				continue
			}
			if _, waiting := r.progress.confirmable(); !waiting.IsZero() || len(r.progress.open) > 0 {
				t.Fatalf("%d transactions are open after their commit", len(r.progress.open))
			}
		}
	})
}

// TestSlotMessagesCutShort proves that a message which ends too early, wherever, is
// refused or is one that a shorter one may be, and takes neither the reader down nor
// more memory than it has bytes.
func TestSlotMessagesCutShort(t *testing.T) {
	t.Parallel()
	for _, messages := range transactions() {
		for i, whole := range messages {
			for n := range whole {
				r := pass()
				for _, before := range messages[:i] {
					if err := r.copied(t.Context(), before); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.copied(t.Context(), whole[:n]); err == nil && whole[0] == 'w' {
					t.Errorf("message %d, %q, is taken with %d of %d bytes", i, whole[25], n, len(whole))
				}
			}
		}
	}
	many := append(wal('T'), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1)
	r := pass()
	if err := errors.Join(r.copied(t.Context(), begin()), r.copied(t.Context(), many)); !errors.Is(err, errShort) {
		t.Errorf("a Truncate of four billion tables: %v", err)
	}
}

// TestSlotMessagesOutOfPlace proves that what is not part of a transaction is told.
func TestSlotMessagesOutOfPlace(t *testing.T) {
	t.Parallel()
	truncate := append(wal('T'), 0, 0, 0, 1, 0, 0, 0, 0, 7)
	for name, messages := range map[string][][]byte{
		"a commit alone":      {commit()},
		"a truncation alone":  {describe(), truncate},
		"a change alone":      {describe(), insert()},
		"a begin within":      {begin(), begin()},
		"an undescribed one":  {begin(), insert()},
		"nothing in the data": {wal()},
	} {
		r := pass()
		var err error
		for _, m := range messages {
			err = errors.Join(err, r.copied(t.Context(), m))
		}
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// transactions are such as PostgreSQL sends, message by message ("Logical Streaming
// Replication Protocol" in its manual).
func transactions() [][][]byte {
	row := tupleOf("o1", "acme", microseconds, microseconds, "")
	keepalive := append(binary.BigEndian.AppendUint64([]byte{'k'}, 99), 0, 0, 0, 0, 0, 0, 0, 0, 1)
	update := append(append(append(append(wal('U'), 0, 0, 0, 7), 'O'), row...), append([]byte{'N'}, row...)...)
	deleted := append(append(append(wal('D'), 0, 0, 0, 7), 'O'), row...)
	truncate := append(wal('T'), 0, 0, 0, 1, 0, 0, 0, 0, 7)
	return [][][]byte{
		{keepalive},
		{begin(), describe(), insert(), commit()},
		{begin(), describe(), insert(), update, deleted, truncate, commit(), keepalive},
	}
}

// wal is XLogData: its header, then a message of pgoutput.
func wal(message ...byte) []byte { return append(append([]byte{'w'}, make([]byte, 24)...), message...) }

func begin() []byte { return append(wal('B'), make([]byte, 20)...) }

func commit() []byte { return append(wal('C'), make([]byte, 25)...) }

func insert() []byte {
	return append(append(append(wal('I'), 0, 0, 0, 7), 'N'), tupleOf("o1", "acme", microseconds, microseconds, "")...)
}

// describe is the Relation of organizations, with the id 7.
func describe() []byte {
	columns := entities(streams.Config{})[0].columns
	b := append(append(wal('R'), 0, 0, 0, 7), "public\x00organizations\x00f"...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(columns)))
	for _, c := range columns {
		b = binary.BigEndian.AppendUint32(append(append(append(b, 0), c.name...), 0), c.oid)
		b = append(b, 0xff, 0xff, 0xff, 0xff)
	}
	return b
}

// microseconds is a timestamptz, counted from the year 2000.
const microseconds = "\x00\x02\xea\x5b\x3c\x00\x00\x01"

// tupleOf is TupleData of binary values; an empty one is NULL.
func tupleOf(columns ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(columns)))
	for _, text := range columns {
		if text == "" {
			b = append(b, 'n')
			continue
		}
		b = append(binary.BigEndian.AppendUint32(append(b, 'b'), uint32(len(text))), text...)
	}
	return b
}
