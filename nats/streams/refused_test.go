package streams_test

import (
	"regexp"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/runtimetest"
)

// TestRefusedIsWhatWasAsked holds that a user who may not change streams, several of which have other
// limits, is told of one what the server has said of that one.
func TestRefusedIsWhatWasAsked(t *testing.T) {
	t.Parallel()
	srv := runtimetest.NATSServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "operator", Password: "x"},
			{Username: "user", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.STREAM.UPDATE.>"}}}},
		}
	})
	as := func(user string) jetstream.JetStream {
		t.Helper()
		nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(user, "x"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	c := config.Default[streams.Config]()
	all := []streams.Stream{c.RawEnvelopes(), c.ProcessedEnvelopes(), c.DeadLetters(), c.GatewayEvents(), c.EndDeviceEvents(), c.OrganizationEvents()}
	if err := streams.Ensure(t.Context(), as("operator"), all...); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].MaxBytes /= 2
	}
	js, named := as("user"), regexp.MustCompile(`^stream (\w+): MaxBytes is .*: nats: permissions violation: .*"\$JS\.API\.STREAM\.UPDATE\.(\w+)"`)
	for range 3 {
		err := streams.Ensure(t.Context(), js, all...)
		if err == nil {
			t.Fatal("a user who may not has changed a stream")
		}
		if m := named.FindStringSubmatch(err.Error()); m == nil || m[1] != m[2] {
			t.Errorf("got %v", err)
		}
	}
}
