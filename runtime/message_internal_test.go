package runtime

import (
	"testing"
	"time"
)

func TestDelivery(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 1763974800123456789)
	for _, reply := range []string{
		"$JS.ACK.raw_envelopes.convert.3.812.900.1763974800123456789.17",
		"$JS.ACK._.2F4Vx.raw_envelopes.convert.3.812.900.1763974800123456789.17",
		"$JS.ACK.hub.2F4Vx.raw_envelopes.convert.3.812.900.1763974800123456789.17.qwe.rty",
	} {
		attempt, sequence, stored := delivery(reply)
		if attempt != 3 || sequence != 812 || !stored.Equal(at) {
			t.Errorf("%s: %d, %d, %v", reply, attempt, sequence, stored)
		}
	}
}
