package config

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pipe returns a gathering connection and its peer. A write lasts until the peer has
// read it.
func pipe(t *testing.T) (c *gathering, peer net.Conn) {
	t.Helper()
	ours, peer := net.Pipe()
	c = gather(ours)
	t.Cleanup(func() {
		peer.Close() //nolint:errcheck // of a test
		c.Close()    //nolint:errcheck // of a test
	})
	return c, peer
}

func write(t *testing.T, c *gathering, p []byte) {
	t.Helper()
	if n, err := c.Write(p); n != len(p) || err != nil {
		t.Fatalf("%d bytes of %d written: %v", n, len(p), err)
	}
}

// TestGathers holds that what is written during a write goes out with the next, in its
// order.
func TestGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipe(t)
		write(t, c, []byte("1"))
		synctest.Wait() // until it is being written
		for _, p := range []string{"2", "34", "5"} {
			write(t, c, []byte(p))
		}
		buf := make([]byte, 100)
		for _, want := range []string{"1", "2345"} {
			n, err := peer.Read(buf)
			if err != nil || string(buf[:n]) != want {
				t.Errorf("%q was read in one, not %q: %v", buf[:n], want, err)
			}
		}
		write(t, c, []byte("6"))
		if n, err := peer.Read(buf); err != nil || string(buf[:n]) != "6" {
			t.Errorf("%q was read, not 6: %v", buf[:n], err)
		}
	})
}

// TestGathersNoMore holds that a writer waits where the peer is too slow, that a message
// larger than what may wait arrives as it was, and that its room is not kept.
func TestGathersNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipe(t)
		message := make([]byte, 5*mostGathered/2)
		for i := range message {
			message[i] = byte(i >> 8)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			if n, err := c.Write(message); n != len(message) || err != nil {
				t.Errorf("%d bytes of %d written: %v", n, len(message), err)
			}
		}()
		synctest.Wait()
		select {
		case <-written:
			t.Error("a write did not wait")
		default:
		}
		read := make([]byte, len(message))
		if _, err := io.ReadFull(peer, read); err != nil || !bytes.Equal(read, message) {
			t.Errorf("another message was read: %v", err)
		}
		<-written
		synctest.Wait()
		if kept := cap(c.waiting) + cap(c.spare); kept > 3*mostGathered {
			t.Errorf("%d bytes are kept", kept)
		}
	})
}

// TestGatheredAtClose holds that a connection writes what it took before it is closed.
func TestGatheredAtClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipe(t)
		write(t, c, []byte("last "))
		write(t, c, []byte("words"))
		var read []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			read, _ = io.ReadAll(peer)
		}()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if <-done; string(read) != "last words" {
			t.Errorf("%q was read", read)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("written after Close: %v", err)
		}
	})
}

// TestPeerThatDoesNotRead holds that nothing waits for one for ever: a write is given up,
// and the connection with it, before a stop has run out of its time, and Close lasts a
// second.
func TestPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const grace = 20 * time.Second // of a stop
	t.Run("write", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c, _ := pipe(t)
			began := time.Now()
			write(t, c, []byte("x"))
			synctest.Wait()
			write(t, c, bytes.Repeat([]byte("x"), mostGathered)) // beside the one that is being written
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != writeTimeout {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if took := time.Since(began); took >= grace {
				t.Errorf("a stop waits for a write for %v", took)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("who reads is told of %v", err)
			}
		})
	})
	t.Run("close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c, _ := pipe(t)
			write(t, c, []byte("x"))
			synctest.Wait()
			write(t, c, []byte("x"))
			began := time.Now()
			if c.Close(); time.Since(began) != closeTimeout { //nolint:errcheck // what matters is when
				t.Errorf("Close took %v", time.Since(began))
			}
		})
	})
}

// TestDeadlinesOfReads holds that a deadline of reads is none of what is written behind.
func TestDeadlinesOfReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipe(t)
		if err := errors.Join(c.SetDeadline(time.Now().Add(time.Second)), c.SetWriteDeadline(time.Now())); err != nil {
			t.Fatal(err)
		}
		write(t, c, []byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if n, err := peer.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d bytes were read: %v", n, err)
		}
	})
}
