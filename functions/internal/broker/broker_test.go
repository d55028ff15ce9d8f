package broker

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Broker{
		"mqtt://b":                    {Address: "b:1883", Host: "b"},
		"tcp://b:99/":                 {Address: "b:99", Host: "b"},
		"MQTTS://u:p%40ss@b":          {Address: "b:8883", Host: "b", TLS: true, User: "u", Password: "p@ss"},
		"ssl://u@[::1]:1":             {Address: "[::1]:1", Host: "::1", TLS: true, User: "u"},
		"ws://u:p@b":                  {Address: "b:80", Host: "b", WebSocket: "ws://b:80/mqtt", User: "u", Password: "p"},
		"wss://b:8084/a%20path?q=1#x": {Address: "b:8084", Host: "b", TLS: true, WebSocket: "wss://b:8084/a%20path?q=1"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "b:1883", "http://b", "mqtt://", "mqtt://u:secret%zz@b", "mqtt://u:secret@b:port"} {
		if got, err := Parse(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
}

func TestPasswordsDoNotShow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"mqtt://u:se cret@b", "mqtt://u:se%zz@b", "ws://u:secret@b/x", "mqtt://:secret@b"} {
		if got := Redact(text); strings.Contains(got, "se") {
			t.Errorf("%s", got)
		}
	}
	if got := Redact("mqtt://b/a path"); got != "mqtt://b/a path" {
		t.Errorf("%s", got)
	}
	b, err := Parse("mqtt://u:s%2Fe cret@b")
	if err == nil {
		t.Fatalf("got %+v", b)
	}
	b = Broker{Password: "s/e t"}
	for _, text := range []string{"dial s/e t", "s%2Fe%20t", "s%2Fe+t"} {
		if got := b.Clean(text); strings.Contains(got, "e") {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}
