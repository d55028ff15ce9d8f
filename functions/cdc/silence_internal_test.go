package cdc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// piped is a reader of a slot, and the other end of its connection.
func piped(t *testing.T) (*reader, net.Conn) {
	t.Helper()
	config, err := pgconn.ParseConfig("host=nowhere")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() }) //nolint:errcheck // nobody is left
	conn, err := pgconn.Construct(&pgconn.HijackedConn{Conn: ours, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	r := pass()
	r.session, r.state, r.began = &session{conn: conn}, &state{Confirmed: 7}, time.Now()
	return r, theirs
}

// TestSilenceOfTheSlot has PostgreSQL say nothing more: it hears of us each second, is asked for
// an answer, and is given up.
func TestSilenceOfTheSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, theirs := piped(t)
		var heard, asked atomic.Int32
		go func() {
			for b := make([]byte, 1+4+34); ; { // CopyData of a status update
				if _, err := io.ReadFull(theirs, b); err != nil {
					return
				}
				heard.Add(1)
				asked.Add(int32(b[len(b)-1]))
				if lsn := b[1+4+1+7]; lsn != 7 {
					t.Errorf("confirmed is %d", lsn)
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := r.confirm(ctx, r)
		if took := time.Since(r.began).Round(time.Second); !errors.Is(err, os.ErrDeadlineExceeded) || took != silence {
			t.Errorf("after %v: %v", took, err)
		}
		synctest.Wait()
		if heard.Load() < 8 || asked.Load() < 3 {
			t.Errorf("it heard of us %d times, and was asked %d times", heard.Load(), asked.Load())
		}
	})
}

// TestAnswerToTheSlot is given at once where PostgreSQL wants one.
func TestAnswerToTheSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, theirs := piped(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.confirm(ctx, r) //nolint:errcheck // the test is over before it fails
		b := make([]byte, 1+4+34)
		if _, err := io.ReadFull(theirs, b); err != nil { // the first, in any case
			t.Fatal(err)
		}
		r.asked.Store(true)
		wanted := time.Now()
		if _, err := io.ReadFull(theirs, b); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(wanted); took > 100*time.Millisecond {
			t.Errorf("it came after %v", took)
		}
	})
}

// TestSlotEnds has PostgreSQL end the stream: that is an error at once, which is told.
func TestSlotEnds(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]pgproto3.BackendMessage{
		"ended":   &pgproto3.CopyDone{},
		"refused": &pgproto3.ErrorResponse{Severity: "ERROR", Code: "58P01", Message: "requested WAL segment has already been removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, theirs := piped(t)
				data, err := m.Encode(nil)
				if err != nil {
					t.Fatal(err)
				}
				go theirs.Write(data)                                //nolint:errcheck // then nothing is read
				time.AfterFunc(time.Hour, func() { theirs.Close() }) //nolint:errcheck // reading ends
				if err := r.read(t.Context()); err == nil || time.Since(r.began) > 0 {
					t.Errorf("after %v: %v", time.Since(r.began), err)
				}
			})
		})
	}
}
