package mqttingest

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestOldViewForgetsNothing has an instance that was paused find a gateway gone, and its
// owner, of which both are there again: it leaves alone what the new owner has noted.
func TestOldViewForgetsNothing(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(runtimetest.NATS(t))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default[streams.Config]()
	o := &owner{me: "paused", ctx: t.Context(), log: slog.New(slog.DiscardHandler), view: newView()}
	for kv, conf := range map[*jetstream.KeyValue]jetstream.KeyValueConfig{&o.leases: c.Leases(), &o.records: c.MQTTSessions()} {
		if *kv, err = js.CreateOrUpdateKeyValue(t.Context(), conf); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := o.leases.Create(t.Context(), streams.GatewayLease("g1"), []byte("dead"))
	if err != nil {
		t.Fatal(err)
	}
	o.view.claimed("g1", claim{"dead", dead})
	if _, err := o.leases.Update(t.Context(), streams.GatewayLease("g1"), []byte("alive"), dead); err != nil {
		t.Fatal(err)
	}
	if _, err := o.records.Create(t.Context(), "g1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	o.reconcile()
	if _, err := o.records.Get(t.Context(), "g1"); err != nil {
		t.Errorf("what the owner has noted: %v", err)
	}
	// One that is gone indeed leaves nothing.
	now, err := o.leases.Get(t.Context(), streams.GatewayLease("g1"))
	if err != nil {
		t.Fatal(err)
	}
	o.view.claimed("g1", claim{"alive", now.Revision()})
	o.reconcile()
	if _, err := o.records.Get(t.Context(), "g1"); err == nil {
		t.Error("what was noted stays")
	}
}

// entry is what a watch of the leases tells.
type entry struct {
	jetstream.KeyValueEntry
	key, value string
	revision   uint64
}

func (e entry) Key() string      { return e.key }
func (e entry) Value() []byte    { return []byte(e.value) }
func (e entry) Revision() uint64 { return e.revision }

func (e entry) Operation() jetstream.KeyValueOp {
	if e.value == "" {
		return jetstream.KeyValuePurge
	}
	return jetstream.KeyValuePut
}

// TestShares holds that instances have equal shares, that those which joined first have what is left
// over, and that who has no lease has none.
func TestShares(t *testing.T) {
	t.Parallel()
	v := newView()
	v.instances = map[string]string{"a": "3", "b": "1", "c": "2"}
	for gateways, want := range []map[string]int{{}, {"b": 1}, {"b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 1}} {
		for _, instance := range []string{"a", "b", "c", "gone"} {
			if got := v.share(instance).quota; got != want[instance] {
				t.Errorf("of %d gateways %s has %d, want %d", gateways, instance, got, want[instance])
			}
		}
		v.gateways[fmt.Sprint(gateways)] = known{}
	}
}

// TestViewForgetsClaims lets gateways come and go: nothing is left of them, and what an
// instance knows of its own claims is newer than the watch.
func TestViewForgetsClaims(t *testing.T) {
	t.Parallel()
	v := newView()
	key := streams.GatewayLease("g1")
	v.lease(entry{key: key, value: "me", revision: 1})
	v.claimed("g1", claim{revision: 2}) // dropped
	v.lease(entry{key: key, revision: 2})
	if len(v.claims) != 0 {
		t.Errorf("%v is left", v.claims)
	}
	v.lease(entry{key: key, value: "me", revision: 3})
	v.claimed("g1", claim{revision: 4})
	v.claimed("g1", claim{"me", 6})
	v.lease(entry{key: key, revision: 5})
	if c := v.claimOf("g1"); c.owner != "me" || c.revision != 6 {
		t.Errorf("got %v", c)
	}
}
