package mqttingest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxPacket is what is kept of a packet, in bytes: more than maxPayload with
	// the longest topic. MQTT allows 256 MiB.
	maxPacket = maxPayload + 128<<10

	// oneCode is how long a SUBACK of MQTT 3.1.1 is, which answers for the one filter that was
	// asked for. paho.mqtt.golang panics at a code for another one.
	oneCode = 3

	// aboveOne is the bit of a PUBLISH with a higher QoS than is subscribed to, which
	// paho.mqtt.golang keeps, acknowledged or not, until a PUBREL comes.
	aboveOne = 0x04

	writeTimeout = 10 * time.Second
	closeTimeout = time.Second
	readBuffer   = 4 << 10
)

var (
	errPacket = errors.New("the broker sends what is not MQTT")
	errHungUp = errors.New("the broker has closed the connection")
)

// frames is a connection to a broker that bounds what a packet costs. The tail
// of a PUBLISH that is too long is dropped, and so its payload cut, to a length
// that is still refused: the message can be counted and acknowledged, in one
// piece of memory that is small. (MQTT 5.0 and 3.1.1, section 2.1.)
//
// A broker that does not read is given up.
type frames struct {
	net.Conn
	*budget
	lost func(error) // called when nothing more can be read

	properties bool // a PUBLISH has them: MQTT 5

	mu      sync.Mutex // as a sync.Locker
	collect bool       // between Lock and Unlock
	out     []byte

	in     *bufio.Reader
	header []byte // of the packet, not handed out yet
	left   int    // bytes of the packet to hand out
	drop   int    // bytes of the packet to drop after that
}

// newFrames calls lost when the connection is gone: the libraries do not always
// say so, or wait with it for handlers that wait for that.
func newFrames(c net.Conn, b *budget, lost func(error)) *frames {
	return &frames{Conn: c, budget: b, lost: lost, in: bufio.NewReaderSize(c, readBuffer)}
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.read(p)
	switch {
	case err == nil, errors.Is(err, net.ErrClosed): // by us: Close sees to it
	case errors.Is(err, io.EOF):
		f.lost(errHungUp)
	default:
		f.lost(err)
	}
	return n, err
}

func (f *frames) read(p []byte) (int, error) {
	if len(f.header) == 0 && f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if len(f.header) > 0 {
		n := copy(p, f.header)
		f.header = f.header[n:]
		return n, nil
	}
	n, err := f.in.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// next reads the header of a packet.
func (f *frames) next() error {
	for f.drop > 0 {
		n, err := f.in.Discard(f.drop)
		f.drop -= n
		if err != nil {
			return err
		}
	}
	kind, err := f.in.ReadByte()
	if err != nil {
		return err
	}
	length, _, err := f.number()
	if err != nil {
		return err
	}
	f.left = length
	const publish, suback = 3, 9
	if !f.properties && (kind>>4 == suback && length > oneCode || kind>>4 == publish && kind&aboveOne != 0) {
		return errPacket
	}
	var head []byte // of the packet, after its own header
	if length > maxPacket {
		if kind>>4 != publish {
			return errPacket
		}
		if f.properties { // or what is cut is no PUBLISH any more, and comes again for ever
			if head, f.left, err = f.skipProperties(kind, length); err != nil {
				return err
			}
		}
		if n := len(head) + f.left; n > maxPacket {
			f.left, f.drop = maxPacket-len(head), n-maxPacket
		}
	}
	if kind>>4 == publish {
		f.add(len(head) + f.left)
	}
	f.header = binary.AppendUvarint(append(f.header[:0:0], kind), uint64(len(head)+f.left))
	f.header = append(f.header, head...)
	return nil
}

// number reads a Variable Byte Integer of MQTT, which has four bytes at most, and tells how
// many it has.
func (f *frames) number() (n, size int, err error) {
	for {
		b, err := f.in.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		if size == 4 {
			return 0, 0, errPacket
		}
		n |= int(b&0x7f) << (7 * size)
		if size++; b < 0x80 {
			return n, size, nil
		}
	}
}

// skipProperties reads a PUBLISH of MQTT 5 up to its payload, and returns that without
// its properties, and how long the payload is.
func (f *frames) skipProperties(kind byte, length int) (head []byte, payload int, err error) {
	head = make([]byte, 2)
	if _, err = io.ReadFull(f.in, head); err != nil {
		return nil, 0, err
	}
	n := int(binary.BigEndian.Uint16(head))
	if kind&0x06 != 0 { // a packet id
		n += 2
	}
	head = append(head, make([]byte, n+1)...)
	if _, err = io.ReadFull(f.in, head[2:2+n]); err != nil {
		return nil, 0, err
	}
	skip, size, err := f.number()
	if err != nil {
		return nil, 0, err
	}
	if payload = length - 2 - n - size - skip; payload < 0 {
		return nil, 0, errPacket
	}
	_, err = f.in.Discard(skip)
	return head, payload, err
}

// Lock begins a packet: paho.golang writes one in pieces, between Lock and Unlock.
func (f *frames) Lock() {
	f.mu.Lock()
	f.collect = true
}

// Unlock sends the packet. An error closes the connection, which its reader sees.
func (f *frames) Unlock() {
	defer f.mu.Unlock()
	f.collect = false
	if _, err := f.Write(f.out); err != nil {
		f.Close() //nolint:errcheck // it is broken
	}
	f.out = f.out[:0]
}

// Close ends a Read as well that waits for room. Whoever closes the connection
// has some time to say why.
func (f *frames) Close() error {
	f.close()
	time.AfterFunc(closeTimeout, func() { f.lost(net.ErrClosed) })
	return f.Conn.Close()
}

func (f *frames) Write(p []byte) (int, error) {
	if f.collect {
		f.out = append(f.out, p...)
		return len(p), nil
	}
	if err := f.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return f.Conn.Write(p)
}
