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

// TestPasswordsWithinWords holds that what people read stays so, and that a short
// password does not show by what is missing.
func TestPasswordsWithinWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ password, text, want string }{
		{"p", "dial tcp: lookup h: no such host", "dial tcp: lookup h: no such host"},
		{"p", "mqtt://u:p@h, p; p p=p", "mqtt://u:xxxxx@h, xxxxx; xxxxx xxxxx=xxxxx"},
		{"\u00e9", "\u00e9 \u00e9t\u00e9", "xxxxx \u00e9t\u00e9"},
		{"pass", "bad_pass, bypass", "bad_xxxxx, bypass"},
		{"@", "u:@@@h", "u:xxxxxxxxxx@h"},
		{"longpassword", "nolongpassword", "noxxxxx"},
		{"", "any text", "any text"},
	} {
		if got := (Broker{Password: tt.password}).Clean(tt.text); got != tt.want {
			t.Errorf("%q in %q: got %q, want %q", tt.password, tt.text, got, tt.want)
		}
	}
}
