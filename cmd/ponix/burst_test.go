package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/deadletter"
	"ponix/runtime/runtimetest"
)

const decode = "cayenne_lpp_decode(input)"

var temperature = []byte{0x01, 0x67, 0x01, 0x10}

// poison returns one message for each way to become a dead letter, by reason,
// and the device that lacks an expression.
func (c *cluster) poison(t *testing.T, org string) (messages map[string][]byte, unfinished string) {
	t.Helper()
	gone := c.organization(t)
	orphan := c.device(t, gone, decode)
	if _, err := c.organizations.DeleteOrganization(t.Context(), &organizationv1.DeleteOrganizationRequest{OrganizationId: gone}); err != nil {
		t.Fatal(err)
	}
	with := func(expression string) string { return c.device(t, org, expression) }
	unfinished = with("")
	return map[string][]byte{
		"UNDECODABLE":           {0xff, 0x01},
		"ORGANIZATION_MISMATCH": envelope(t, "another", with(decode), temperature),
		"ORGANIZATION_DELETED":  envelope(t, gone, orphan, temperature),
		"NO_EXPRESSION":         envelope(t, org, unfinished, temperature),
		"EVALUATION_FAILED":     envelope(t, org, with(decode), []byte{0x01}),
		"PAYLOAD_TOO_LARGE":     envelope(t, org, with(decode), make([]byte, 256<<10+1)),
		"COST_LIMIT_EXCEEDED":   envelope(t, org, with("{'n': lists.range(2000000).size()}"), temperature),
		"RESULT_NOT_A_MAP":      envelope(t, org, with("json_decode(string(input))"), []byte("[1]")),
		"UNKNOWN_DEVICE":        envelope(t, org, "nobody", temperature),
		"ROW_REFUSED":           envelope(t, org, with("{'a': {'b': 1}, 'a.b': 2}"), temperature),
	}, unfinished
}

// letters lists the dead letters by reason.
func (c *cluster) letters(t *testing.T) map[string]deadletter.Letter {
	t.Helper()
	found := map[string]deadletter.Letter{}
	for line := range strings.Lines(must(t, c.env, "dlq", "list", "--format", "json")) {
		var l deadletter.Letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if _, twice := found[l.Reason]; twice {
			t.Errorf("%s is there twice", l.Reason)
		}
		found[l.Reason] = l
	}
	return found
}

func TestBurstWithPoison(t *testing.T) {
	t.Parallel()
	_, c := up(t, t.TempDir())
	org := c.organization(t)
	device := c.device(t, org, decode)
	poison, unfinished := c.poison(t, org)
	messages := slices.Collect(maps.Values(poison))
	for range 1000 - len(poison) {
		messages = append(messages, envelope(t, org, device, temperature))
	}
	rand.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
	c.publish(t, messages...)
	c.wantRows(t, 20*time.Second, 990)

	var dead map[string]deadletter.Letter
	runtimetest.Eventually(t, time.Minute, func() error { // an unknown device is waited for
		if dead = c.letters(t); len(dead) < len(poison) {
			return fmt.Errorf("%d dead letters: %v", len(dead), slices.Sorted(maps.Keys(dead)))
		}
		return nil
	})
	for reason, payload := range poison {
		l, ok := dead[reason]
		if !ok {
			t.Errorf("no dead letter has the reason %s, but %v", reason, slices.Sorted(maps.Keys(dead)))
			continue
		}
		if l.Error == "" || l.Sequence == 0 || l.Deliveries == 0 || l.TraceID == "" || l.ID == "" {
			t.Errorf("%+v lacks something", l)
		}
		if reason != "ROW_REFUSED" { // that one died after its conversion
			var shown deadletter.Letter
			if err := json.Unmarshal([]byte(must(t, c.env, "dlq", "show", "--format", "json", strconv.FormatUint(l.Number, 10))), &shown); err != nil || string(shown.Payload) != string(payload) {
				t.Errorf("%s: the payload is not what was sent (%v)", reason, err)
			}
		}
	}

	conversion := decode
	if _, err := c.devices.UpdateEndDevice(t.Context(), &enddevicev1.UpdateEndDeviceRequest{DeviceId: unfinished, PayloadConversion: &conversion}); err != nil {
		t.Fatal(err)
	}
	must(t, c.env, "dlq", "replay", strconv.FormatUint(dead["NO_EXPRESSION"].Number, 10))
	c.wantRows(t, 10*time.Second, 991)
	if id := dead["NO_EXPRESSION"].ID; !strings.Contains(must(t, c.env, "sql", "SELECT envelope_id FROM processed_envelopes WHERE end_device_id = '"+unfinished+"'"), id) {
		t.Errorf("the replayed envelope has lost its id %s", id)
	}
	must(t, c.env, "dlq", "drop", "--all")
	if left := c.letters(t); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}
