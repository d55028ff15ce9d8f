package local

import (
	"net"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
)

// TestBrokerEndsByItself holds that sessions are not told of the end in the library's own way,
// which waits for ever where one of them ends at that moment: a stack of that was seen, and it
// is too rare for a test of its own.
func TestBrokerEndsByItself(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(ln, mochi.New(nil))
	l.Close(func(string) { t.Error("they are told by Clients.GetByListener, which takes its lock twice") })
}
