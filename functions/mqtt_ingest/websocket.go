package mqttingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxOpening is how much a broker may send until a websocket is open, in bytes: TLS, and an
// answer to a GET, of which net/http keeps every header.
const maxOpening = 256 << 10

var errOpening = errors.New("the broker's answer to the websocket's handshake is too long")

// webSocket returns when ctx ends, for which the library would not.
func (d *dialer) webSocket(ctx context.Context, url string, conf *tls.Config) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	answered := make(chan answer)
	go func() {
		conn, err := d.openWebSocket(ctx, url, conf)
		select {
		case answered <- answer{conn, err}:
		case <-ctx.Done():
			if err == nil {
				conn.Close() //nolint:errcheck // nobody has used it
			}
		}
	}()
	select {
	case a := <-answered:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the broker did not answer within %v", connectTimeout)
	}
}

func (d *dialer) openWebSocket(ctx context.Context, url string, conf *tls.Config) (net.Conn, error) {
	under := &opening{left: maxOpening}
	library := websocket.Dialer{
		Proxy: d.proxy, HandshakeTimeout: connectTimeout, TLSClientConfig: conf, Subprotocols: []string{"mqtt"},
		NetDialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			under.Conn, err = d.DialContext(ctx, network, addr)
			return under, err
		},
	}
	conn, _, err := library.DialContext(ctx, url, nil) //nolint:bodyclose // it is none
	if err != nil {
		return nil, err
	}
	under.open = true
	return &webSocket{Conn: conn}, nil
}

// opening is a connection of which a part may be read at most, until it is open.
type opening struct {
	net.Conn
	left int
	open bool
}

func (o *opening) Read(p []byte) (int, error) {
	if o.open {
		return o.Conn.Read(p)
	}
	if o.left == 0 {
		return 0, errOpening
	}
	n, err := o.Conn.Read(p[:min(len(p), o.left)])
	o.left -= n
	return n, err
}

// webSocket is a websocket as a net.Conn: messages are pieces of a stream of bytes.
type webSocket struct {
	*websocket.Conn
	message io.Reader // that is being read
	writing sync.Mutex
}

func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			_, message, err := w.NextReader()
			if err != nil {
				return 0, err
			}
			w.message = message
		}
		n, err := w.message.Read(p)
		if errors.Is(err, io.EOF) {
			w.message, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (w *webSocket) Write(p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	if err := w.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline implements net.Conn.
func (w *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}
