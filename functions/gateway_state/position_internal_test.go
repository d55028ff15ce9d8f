package gatewaystate

import (
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "ponix/proto/ponix/gateway/v1"
)

func TestPast(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		event position
		of    position
		past  bool
	}{
		{"the first", position{1, 10}, position{}, false},
		{"the next", position{8, 11}, position{7, 10}, false},
		{"the next, of the same moment", position{8, 10}, position{7, 10}, false},
		{"the next, after the clock was set back", position{8, 9}, position{7, 10}, false},
		{"the same", position{7, 10}, position{7, 10}, true},
		{"the one before", position{6, 9}, position{7, 10}, true},
		{"the one before, of the same moment", position{6, 10}, position{7, 10}, true},
		{"of a stream that begins again", position{1, 11}, position{7, 10}, false},
	} {
		if past := test.event.past(test.of); past != test.past {
			t.Errorf("%s: %v", test.name, past)
		}
	}
}

func TestPositionIsKeptAsText(t *testing.T) {
	t.Parallel()
	for _, p := range []position{{}, {812, 1763974800123456789}, {math.MaxUint64, math.MinInt64}} {
		if got := parsePosition(p.String()); got != p {
			t.Errorf("%v: %v", p, got)
		}
	}
	for _, text := range []string{"", "-", "7", "7-", "-7", "7-x", "x-7", "-1-7", "18446744073709551616-7"} {
		if got := parsePosition(text); got != (position{}) {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestPositionInState holds that a state keeps one position through those who know
// nothing of it, and that nothing else is taken for one.
func TestPositionInState(t *testing.T) {
	t.Parallel()
	s := &pb.GatewayState{Owner: "me"}
	if at := positionOf(s); at != (position{}) {
		t.Errorf("got %v", at)
	}
	for _, at := range []position{{7, 10}, {8, 11}} {
		at.mark(s)
		data, err := proto.Marshal(proto.CloneOf(s))
		if err != nil {
			t.Fatal(err)
		}
		other := &pb.GatewayState{}
		if err := proto.Unmarshal(data, other); err != nil || positionOf(other) != at || other.Owner != "me" {
			t.Errorf("got %v, %v", other, err)
		}
	}
	b := protowire.AppendVarint(protowire.AppendTag(nil, positionField, protowire.VarintType), 7)
	b = protowire.AppendString(protowire.AppendTag(b, positionField+1, protowire.BytesType), "7-10")
	s.ProtoReflect().SetUnknown(b)
	if at := positionOf(s); at != (position{}) {
		t.Errorf("got %v", at)
	}
}
