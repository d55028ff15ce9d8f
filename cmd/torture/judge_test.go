package main

import (
	"testing"
	"time"
)

// TestSentAs tells rows of what was sent from those of what never was.
func TestSentAs(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	l := &load{organization: "o", device: "d", prefix: "p-", mqtt: &mqttLoad{device: "m", acked: 7}, received: []time.Time{{}, at}}
	for name, c := range map[string]struct {
		key
		row
		sent bool
	}{
		"by NATS":                  {key{"d", 1}, row{"o", "p-1", `{"n":1}`, at}, true},
		"another number":           {key{"d", 2}, row{"o", "p-1", `{"n":2}`, at}, false},
		"another id":               {key{"d", 1}, row{"o", "p-2", `{"n":1}`, at}, false},
		"another time":             {key{"d", 1}, row{"o", "p-1", `{"n":1}`, at.Add(1)}, false},
		"another organization":     {key{"d", 1}, row{"x", "p-1", `{"n":1}`, at}, false},
		"more data":                {key{"d", 1}, row{"o", "p-1", `{"m":1,"n":1}`, at}, false},
		"another device":           {key{"x", 1}, row{"o", "p-1", `{"n":1}`, at}, false},
		"by MQTT":                  {key{"m", 7}, row{"o", "", `{"n":7}`, time.Time{}}, true},
		"by MQTT, not answered":    {key{"m", 8}, row{"o", "", `{"n":8}`, time.Time{}}, true},
		"by MQTT, never published": {key{"m", 9}, row{"o", "", `{"n":9}`, time.Time{}}, false},
		"by MQTT, no number":       {key{"m", 0}, row{"o", "", `{"n":0}`, time.Time{}}, false},
	} {
		if got := l.sentAs(c.key, c.row); got != c.sent {
			t.Errorf("%s: %v", name, got)
		}
	}
}
