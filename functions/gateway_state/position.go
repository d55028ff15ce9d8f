package gatewaystate

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	pb "ponix/proto/ponix/gateway/v1"
)

// position is where an event is among the others: its sequence in the stream, and
// when it was stored, in nanoseconds since 1970.
//
// The order of the stream is that of the changes, whatever PostgreSQL's log says:
// of a database that was restored, it starts again further back. A stream that was
// made anew or restored starts again, too; that its events are later is then seen
// by their time.
type position struct {
	sequence uint64
	stored   int64
}

// past tells whether an event at p adds nothing to what is of the event at q: it
// is the same, or came before.
func (p position) past(q position) bool { return p.sequence <= q.sequence && p.stored <= q.stored }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.sequence, p.stored) }

// parsePosition is the reverse of String. Of anything else it makes the zero
// position, which comes before all events: older versions left none.
func parsePosition(s string) position {
	sequence, stored, _ := strings.Cut(s, "-")
	n, err := strconv.ParseUint(sequence, 10, 64)
	t, err2 := strconv.ParseInt(stored, 10, 64)
	if err != nil || err2 != nil {
		return position{}
	}
	return position{n, t}
}

// positionField is reserved in GatewayState for the position, as text. Since no
// field has that number, everybody else who reads and writes states keeps it as it is.
const positionField protowire.Number = 1000

// positionOf is the position of the event that a state's gateway is of.
func positionOf(s *pb.GatewayState) position {
	for b := s.ProtoReflect().GetUnknown(); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		if b = b[n:]; field == positionField && kind == protowire.BytesType {
			text, _ := protowire.ConsumeString(b)
			return parsePosition(text)
		}
		if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
			break
		}
		b = b[n:]
	}
	return position{}
}

// mark puts p into a state.
func (p position) mark(s *pb.GatewayState) {
	b := protowire.AppendTag(nil, positionField, protowire.BytesType)
	s.ProtoReflect().SetUnknown(protowire.AppendString(b, p.String()))
}
