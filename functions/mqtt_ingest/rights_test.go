package mqttingest_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/packets"

	pb "ponix/proto/ponix/gateway/v1"
)

// rights is a broker's hook that lets nobody subscribe while they are taken away, and nobody
// subscribe to everything where it is strict.
type rights struct {
	auth.AllowHook
	strict bool
	taken  atomic.Bool
	away   atomic.Bool // the broker, for everybody
}

func (r *rights) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return !r.away.Load() }

func (r *rights) OnACLCheck(_ *mochi.Client, topic string, write bool) bool {
	return write || !r.taken.Load() && (!r.strict || topic != "+/#")
}

// TestRightsAreTakenAndGivenBack does as mosquitto does where a user may not subscribe any more: it
// ends the connection, and keeps the session without what it was subscribed to. A gateway that
// may subscribe again has to.
func TestRightsAreTakenAndGivenBack(t *testing.T) {
	t.Parallel()
	for name, strict := range map[string]bool{"everything": false, "one organization": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			e.instance(t)
			hook := &rights{strict: strict}
			b := broker(t, "", hook)
			e.gateway(t, "create", "g1", b.url)
			e.wantState(t, 20*time.Second, "g1", connected)
			hook.taken.Store(true)
			client, _ := b.Clients.Get("ponix-g1")
			b.UnsubscribeClient(client)
			b.DisconnectClient(client, packets.ErrAdministrativeAction) //nolint:errcheck // it returns the reason
			e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return strings.Contains(s.LastError, "does not allow the subscription") })
			hook.taken.Store(false)
			e.wantState(t, 20*time.Second, "g1", connected)
			done(t, publisher(t, b.url).Publish("acme/thermometer", 1, false, "20.5"))
			e.stored(t, 20*time.Second, 1)
			client, _ = b.Clients.Get("ponix-g1")
			if all := client.State.Subscriptions.GetAll(); len(all) != 1 {
				t.Errorf("subscribed to %v", all)
			}
		})
	}
}

// TestRightsAreGivenBackBehindABrokerThatIsAway does the same where the gateway hears nothing of
// the subscription meanwhile, because nobody may connect.
func TestRightsAreGivenBackBehindABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.instance(t)
	hook := &rights{}
	b := broker(t, "", hook)
	e.gateway(t, "create", "g1", b.url)
	e.wantState(t, 20*time.Second, "g1", connected)
	hook.away.Store(true)
	client, _ := b.Clients.Get("ponix-g1")
	b.UnsubscribeClient(client)
	b.DisconnectClient(client, packets.ErrAdministrativeAction) //nolint:errcheck // it returns the reason
	e.wantState(t, 20*time.Second, "g1", func(s *pb.GatewayState) bool { return strings.Contains(s.LastError, "refuses the session") })
	hook.away.Store(false)
	e.wantState(t, 20*time.Second, "g1", connected)
	done(t, publisher(t, b.url).Publish("acme/thermometer", 1, false, "20.5"))
	e.stored(t, 20*time.Second, 1)
}
