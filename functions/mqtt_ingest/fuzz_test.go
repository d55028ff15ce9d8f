package mqttingest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime/wire"
)

// FuzzTopic holds any topic to: it is refused, or has an organization, which is the
// gateway's, and a device, which make up a subject of the stream and nothing besides.
func FuzzTopic(f *testing.F) {
	long := strings.Repeat("x", 64)
	for _, topic := range []string{
		"acme/thermometer", "acme/" + long, "acme/" + long + "x", "other/d", "acme", "acme/", "/d", "acme/d/e", "acme/d\n", "acme/d.e", "acme/*", "acme/>", "acme/#", "$SYS/d", "acme/\xff", "acme/ü", "acme/d\x00", "",
	} {
		f.Add(topic, "acme", []byte{1, 0x67, 1, 0x10})
	}
	f.Add("{/{", "{", []byte("{"))
	raw := streams.Config{Raw: "raw_envelopes"}.RawEnvelopes()
	f.Fuzz(func(t *testing.T, topic, organization string, payload []byte) {
		m := message{topic: topic, payload: payload, received: time.Unix(1, 0)}
		device, why := m.check(organization)
		if why != accepted {
			if device != "" {
				t.Fatalf("%q is refused and has the device %q", topic, device)
			}
			return
		}
		if topic != organization+"/"+device || !wire.IsID(organization) || !wire.IsID(device) || len(payload) > maxPayload {
			t.Fatalf("%q is taken, as device %q", topic, device)
		}
		msg, err := m.envelope(raw, organization, device, "id")
		if err != nil {
			t.Fatal(err)
		}
		if tokens := strings.Split(msg.Subject, "."); len(tokens) != 3 || tokens[1] != organization || tokens[2] != device {
			t.Fatalf("%q is published to %q", topic, msg.Subject)
		}
		e := &envelopev1.RawEnvelope{}
		if err := proto.Unmarshal(msg.Data, e); err != nil || e.OrganizationId != organization || e.DeviceId != device || !bytes.Equal(e.Payload, payload) {
			t.Fatalf("%q became %v, %v", topic, e, err)
		}
	})
}

// FuzzFrames holds whatever a broker sends to: packets that are no longer than
// maxPacket, as they came but for the tail of a PUBLISH that is too long, and then the
// end or an error.
func FuzzFrames(f *testing.F) {
	for _, in := range []string{
		"\x30\x03abc\xd0\x00", "\x32\x80\x80\x80\x01x", "\x20\x80\x80\x80\x01", "\x30\xff\xff\xff\xff\x01", "\x30\x80", "\x30", "\x30\x83\x00abc", "\xd0\x00\xd0\x00",
	} {
		f.Add([]byte(in), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		var lost error
		b := &budget{closed: true}
		r := newFrames(pipe{Reader: bytes.NewReader(in)}, b, func(err error) { lost = err })
		var out []byte
		buf := make([]byte, max(1, min(piece, 512)))
		for {
			n, err := r.Read(buf)
			out = append(out, buf[:n]...)
			if err == nil {
				continue
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, errPacket) || lost == nil {
				t.Fatalf("%v, and is told as %v", err, lost)
			}
			break
		}
		for rest := out; len(rest) > 0; {
			header, length := packet(rest)
			if header == 0 || length > maxPacket {
				t.Fatalf("% x: a packet of %d bytes after a header of %d", rest[:min(8, len(rest))], length, header)
			}
			rest = rest[min(header+length, len(rest)):]
		}
		if len(out) > len(in) {
			t.Fatalf("%d bytes became %d", len(in), len(out))
		}
	})
}

// packet reads how long a packet's header is, and how long what follows it; 0 is a
// header that is not whole.
func packet(b []byte) (header, length int) {
	for i := 1; i < min(len(b), 5); i++ {
		length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return i + 1, length
		}
	}
	return 0, 0
}
