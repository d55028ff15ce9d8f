// Package broker reads the URLs of MQTT brokers, and keeps their passwords out
// of what people see.
package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Broker is where a gateway's messages come from.
type Broker struct {
	Address   string // host:port
	Host      string // that the certificate has to be for
	TLS       bool
	WebSocket string // the URL, without user, where MQTT goes over a websocket
	User      string
	Password  string
}

var schemes = map[string]struct {
	tls, web bool
	port     string
}{
	"mqtt": {port: "1883"}, "tcp": {port: "1883"},
	"mqtts": {tls: true, port: "8883"}, "ssl": {tls: true, port: "8883"},
	"ws": {web: true, port: "80"}, "wss": {tls: true, web: true, port: "443"},
}

var errURL = errors.New("the broker's URL cannot be read") // the cause would show the password

// Parse reads a URL: mqtt, tcp (port 1883), mqtts, ssl (8883), ws (80) or wss
// (443), with user:password where the broker wants them. Without a path,
// websockets are at /mqtt.
func Parse(text string) (Broker, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return Broker{}, errURL
	}
	s, known := schemes[strings.ToLower(u.Scheme)]
	if !known {
		return Broker{}, fmt.Errorf("%q is no scheme of an MQTT broker", u.Scheme)
	}
	b := Broker{Host: u.Hostname(), TLS: s.tls, User: u.User.Username()}
	b.Password, _ = u.User.Password()
	b.Address = net.JoinHostPort(b.Host, cmp.Or(u.Port(), s.port))
	if s.web {
		b.WebSocket = strings.ToLower(u.Scheme) + "://" + b.Address + cmp.Or(u.EscapedPath(), "/mqtt")
		if u.RawQuery != "" {
			b.WebSocket += "?" + u.RawQuery
		}
	}
	return b, nil
}

// Redact replaces the password in a URL.
func Redact(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	if _, has := u.User.Password(); !has {
		return text
	}
	return u.Redacted()
}

// Clean takes the broker's password out of a text, such as an error of a library
// or of the broker.
func (b Broker) Clean(text string) string {
	if b.Password == "" {
		return text
	}
	for _, secret := range []string{b.Password, url.QueryEscape(b.Password), url.PathEscape(b.Password), url.UserPassword("", b.Password).String()[1:]} {
		text = hide(text, secret)
	}
	return text
}

// short is how many bytes a secret has that may well be a part of any word.
const short = 8

// hide replaces a secret, a short one only where it is no part of a word: what is left
// out of words that everybody knows would tell it.
func hide(text, secret string) string {
	var b strings.Builder
	for from := 0; ; {
		at := strings.Index(text[from:], secret)
		if at < 0 {
			return b.String() + text[from:]
		}
		at += from
		end := at + len(secret)
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if len(secret) < short && (inWord(before) || inWord(after)) {
			b.WriteString(text[from : at+1])
			from = at + 1
			continue
		}
		b.WriteString(text[from:at] + "xxxxx")
		from = end
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
