package mqttingest

import (
	"maps"
	"slices"
)

// run is a range of packet ids, both ends included, that are of an older epoch
// if they come again.
type run struct {
	Epoch uint64 `json:"epoch"`
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// epochOf is the epoch of a delivery that comes again, as the record has it.
func (r record) epochOf(packet uint16) uint64 {
	for _, o := range r.Older {
		if o.First <= packet && packet <= o.Last {
			return o.Epoch
		}
	}
	return r.Epoch
}

// epochs is the same for each packet id.
type epochs map[uint16]uint64

// older is what the record knows of older epochs.
func (r record) older() epochs {
	all := epochs{}
	for _, o := range r.Older {
		for p := int(o.First); p <= int(o.Last); p++ {
			all[uint16(p)] = o.Epoch
		}
	}
	return all
}

// runs is the shortest way to write them.
func (e epochs) runs() []run {
	var all []run
	for _, p := range slices.Sorted(maps.Keys(e)) {
		if n := len(all); n > 0 && all[n-1].Last+1 == p && all[n-1].Epoch == e[p] {
			all[n-1].Last = p
		} else {
			all = append(all, run{e[p], p, p})
		}
	}
	return all
}

// epochOf is the epoch of a delivery that comes again: what came again on this
// connection already, or is of its own, or was there before.
func (i *identity) epochOf(packet uint16) uint64 {
	if e, came := i.came[packet]; came {
		return e
	}
	if i.has(packet) {
		return i.saved.Epoch
	}
	return i.before.epochOf(packet)
}

// next is the record of a new epoch, which begins with a packet id: what comes
// again from below it is older. Brokers send again what is not acknowledged
// before anything new, so most of that has come; the others count up.
func (i *identity) next(first uint16) record {
	older := epochs{}
	if i.fresh {
		older = i.before.older()
	} else { // the broker has heard by now of what was acknowledged
		for _, p := range i.acked {
			delete(i.came, p)
		}
		i.acked = nil
	}
	for n, p := 0, first; n < outstanding; n++ {
		if p--; p == 0 {
			p--
		}
		if epoch := i.epochOf(p); epoch != 0 {
			older[p] = epoch
		}
	}
	maps.Copy(older, i.came)
	delete(older, first)
	r := i.saved
	r.Epoch++
	r.Older = older.runs()
	return r
}

// reused is the record when a packet id of an older epoch comes as a new
// delivery: the broker has its PUBACK then, and those before it.
func (i *identity) reused(packet uint16) record {
	n := slices.Index(i.acked, packet) + 1
	for _, p := range i.acked[:n] {
		delete(i.came, p)
	}
	i.acked = i.acked[n:]
	delete(i.came, packet)
	r := i.saved
	r.Older = i.came.runs()
	return r
}
