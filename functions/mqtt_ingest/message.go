package mqttingest

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/wire"
)

// maxPayload is what a message may carry, in bytes.
const maxPayload = 256 << 10

// message is a PUBLISH as the broker delivers it, in either version of MQTT.
type message struct {
	topic     string
	payload   []byte
	qos       byte
	packet    uint16
	duplicate bool // the broker has sent it before, or believes so
	received  time.Time
}

// rejection is why a message does not become an envelope. Such a message is
// counted and acknowledged: it would never be otherwise.
type rejection int

const (
	accepted rejection = iota
	badTopic
	otherOrganization
	tooLarge
	tooLargeForNATS // which is set to take less
	rejections      // how many there are
)

// check reads a message's topic, <organization_id>/<device_id>.
func (m message) check(organization string) (device string, why rejection) {
	org, device, _ := strings.Cut(m.topic, "/")
	switch {
	case !wire.IsID(org) || !wire.IsID(device):
		return "", badTopic
	case org != organization:
		return "", otherOrganization
	case len(m.payload) > maxPayload:
		return "", tooLarge
	}
	return device, accepted
}

// envelope is the message as the pipeline takes it.
func (m message) envelope(raw streams.Stream, organization, device, msgID string) (*nats.Msg, error) {
	data, err := proto.Marshal(&envelopev1.RawEnvelope{
		OrganizationId: organization, DeviceId: device, Payload: m.payload, ReceivedAt: timestamppb.New(m.received),
	})
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: raw.Subject(organization, device), Data: data, Header: nats.Header{jetstream.MsgIDHeader: {msgID}}}, nil
}
