package mqttingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/xid"

	"ponix/nats/streams"
)

// record is what a gateway's next owner must know of the deliveries that its
// last one received. It is written before the first message that it is about.
type record struct {
	Broker string `json:"broker"`           // its address: another one knows nothing of the session
	Filter string `json:"filter,omitempty"` // what the session is subscribed to
	Epoch  uint64 `json:"epoch"`            // counts connections, and half laps of the broker's packet ids
	Older  []run  `json:"older,omitempty"`  // what is of an older epoch, if it comes again
	Reuses bool   `json:"reuses,omitempty"` // the broker gives out packet ids again at once
}

// identity gives each delivery the Nats-Msg-Id of its envelope, the same for a
// delivery that comes again: on another connection, and to another owner.
//
// A delivery is known by its packet id, which the broker keeps until it has the
// PUBACK, and by its content. Packet ids start again, so there is an epoch with
// them: a new one for each connection's new deliveries, and long before a packet
// id comes that was there before. What comes again (DUP) keeps its epoch through
// any number of connections: the record tells it, and is written before anything
// goes on that would make it tell another.
type identity struct {
	kv      jetstream.KeyValue
	gateway string
	broker  string

	mu       sync.Mutex
	loaded   bool
	saved    record
	revision uint64
	before   record            // when the epoch began
	fresh    bool              // nothing new was delivered on the connection yet
	seen     []uint64          // a bit for each packet id of the epoch
	count    int               // of the bits
	came     epochs            // what has come again on the connection
	acked    []uint16          // of that, what is acknowledged, in order
	open     map[uint16]string // ids of deliveries that are not acknowledged yet
}

// errOtherOwner says that somebody else writes the gateway's record.
var errOtherOwner = errors.New("another instance has taken the gateway over")

// packetIDs is how many packet ids there are, and quickly is how soon one comes
// again where the broker does not count up.
const (
	packetIDs = 1 << 16
	halfLap   = packetIDs / 2
	quickly   = packetIDs / 16
)

// begin is called for each connection. resumed tells whether the broker has kept
// the session: otherwise nothing will come again. The record is written, so that
// nobody who had it before can: an owner that was stopped and goes on.
func (i *identity) begin(ctx context.Context, resumed bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.loaded {
		e, err := i.kv.Get(ctx, i.gateway)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			// A gateway that was there before has had epochs of which nobody knows any more.
			i.saved, i.revision = record{Epoch: uint64(time.Now().UnixMicro())}, 0
		case err != nil:
			return fmt.Errorf("read the gateway's session: %w", err)
		default:
			if err := json.Unmarshal(e.Value(), &i.saved); err != nil {
				return fmt.Errorf("read the gateway's session: %w", err)
			}
			i.revision = e.Revision()
		}
		i.loaded = true
	}
	next := i.saved
	i.before = i.saved
	if !resumed || i.saved.Broker != i.broker {
		i.before, i.open = record{}, nil
		next = record{Broker: i.broker, Epoch: i.saved.Epoch}
	}
	i.fresh, i.seen, i.count, i.came, i.acked = true, nil, 0, epochs{}, nil
	return i.save(ctx, next)
}

// subscribed is what the session that the broker has kept is subscribed to, empty
// for nothing. To subscribe again would bring again what is retained; and there
// are brokers that confuse the packet ids of a SUBSCRIBE with those of messages
// that are not acknowledged.
func (i *identity) subscribed() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.saved.Filter
}

// subscribe notes a subscription that the broker has granted.
func (i *identity) subscribe(ctx context.Context, filter string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	next := i.saved
	next.Filter = filter
	return i.save(ctx, next)
}

// of returns the id of a delivery.
func (i *identity) of(ctx context.Context, m message) (string, error) {
	if m.qos == 0 {
		return xid.New().String(), nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	content := m.hash()
	id, open := i.open[m.packet]
	open = open && id[len(id)-len(content):] == content
	var epoch uint64
	var err error
	switch {
	case m.duplicate:
		epoch, err = i.again(ctx, m.packet)
	case !open:
		epoch, err = i.anew(ctx, m.packet)
	}
	switch {
	case err != nil:
		return "", err
	case open:
		return id, nil // whatever it says: a packet id is in use until its PUBACK
	case epoch == 0 || i.saved.Reuses:
		id = xid.New().String() + "-" + content
	default:
		id = i.name(epoch, m.packet, content)
	}
	if i.open == nil {
		i.open = map[uint16]string{}
	}
	i.open[m.packet] = id
	return id, nil
}

// again returns the epoch of what comes again, 0 where there was none, and sees to
// it that the record tells the same.
func (i *identity) again(ctx context.Context, packet uint16) (epoch uint64, err error) {
	epoch = i.epochOf(packet)
	if epoch == 0 {
		return 0, nil
	}
	if i.saved.epochOf(packet) != epoch { // something new came first
		next, older := i.saved, i.saved.older()
		older[packet] = epoch
		next.Older = older.runs()
		if err := i.save(ctx, next); err != nil {
			return 0, err
		}
	}
	if !i.has(packet) {
		i.came[packet] = epoch
	}
	return epoch, nil
}

// anew returns the epoch of a new delivery, and sees to it that the record tells
// the same if it comes again.
func (i *identity) anew(ctx context.Context, packet uint16) (epoch uint64, err error) {
	again := i.has(packet)
	switch {
	case i.fresh, i.count >= halfLap, again && !i.saved.Reuses:
		next := i.next(packet)
		next.Reuses = next.Reuses || again && i.count < quickly
		before := record{Epoch: i.saved.Epoch, Older: next.Older}
		if err := i.save(ctx, next); err != nil {
			return 0, err
		}
		if i.before.Epoch > 0 || !i.fresh {
			i.before = before
		}
		i.fresh, i.count, i.seen = false, 0, make([]uint64, packetIDs/64)
	case i.saved.epochOf(packet) != i.saved.Epoch:
		if err := i.save(ctx, i.reused(packet)); err != nil {
			return 0, err
		}
	}
	delete(i.came, packet)
	i.seen[packet/64] |= 1 << (packet % 64)
	i.count++
	return i.saved.Epoch, nil
}

func (i *identity) has(packet uint16) bool {
	return i.seen != nil && i.seen[packet/64]&(1<<(packet%64)) != 0
}

func (i *identity) name(epoch uint64, packet uint16, content string) string {
	return i.gateway + "-" + strconv.FormatUint(epoch, 36) + "-" + strconv.FormatUint(uint64(packet), 36) + "-" + content
}

// acknowledged is called before a delivery's PUBACK goes out, after which its
// packet id may be another's. It may come again, where the PUBACK is lost.
func (i *identity) acknowledged(packet uint16, id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open[packet] != id {
		return
	}
	delete(i.open, packet)
	if _, came := i.came[packet]; came {
		i.acked = append(i.acked, packet)
	}
}

// save writes the record over the one that was read.
func (i *identity) save(ctx context.Context, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var revision uint64
	if i.revision == 0 {
		revision, err = i.kv.Create(ctx, i.gateway, data)
	} else {
		revision, err = i.kv.Update(ctx, i.gateway, data, i.revision)
	}
	if streams.Overtaken(err) {
		i.loaded = false
		return errOtherOwner
	}
	if err != nil {
		// It may have been written nevertheless.
		i.loaded = false
		return fmt.Errorf("write the gateway's session: %w", err)
	}
	i.saved, i.revision = r, revision
	return nil
}

// hash is short for a message's content.
func (m message) hash() string {
	h := fnv.New64a()
	h.Write([]byte(m.topic))
	h.Write([]byte{0})
	h.Write(m.payload)
	return fmt.Sprintf("%016x", h.Sum64())
}
