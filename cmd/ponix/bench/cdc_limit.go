package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	organizationv1 "ponix/proto/ponix/organization/v1"
)

// decode is the limit of change data capture: it reads the same changes from a slot
// of its own, decodes each row and encodes its message. It leaves out the publish
// with all that belongs to it (ids, expected sequences, headers, acknowledgements,
// the confirmation of the log), errors, tables whose columns change, and values that
// an update has left where they were.
func (c *capture) decode(ctx context.Context, r *Round) error {
	if err := c.prepare(ctx, "limit"); err != nil {
		return err
	}
	config, err := pgconn.ParseConfig(c.PostgresURL("") + "&replication=database&DateStyle=ISO&TimeZone=UTC")
	if err != nil {
		return err
	}
	config.DialFunc = dialPatiently
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, 256<<10), w)
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	err = pglogrepl.StartReplication(ctx, conn, limitSlot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", fmt.Sprintf("publication_names '%q'", c.config.CDC.Publication)},
	})
	if err != nil {
		return errors.Join(err, conn.Close(ctx))
	}
	var done atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- readRows(conn, &done, int64(c.total)) }()
	err = measure(ctx, r, c.total, func(context.Context) (int, error) { return int(done.Load()), nil })
	if err == nil {
		err = <-ended
	}
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	if err := c.until(ctx, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '"+limitSlot+"'"); err != nil {
		return err
	}
	return c.exec(ctx, "SELECT pg_drop_replication_slot('"+limitSlot+"')", "SELECT pg_create_logical_replication_slot('"+limitSlot+"', 'pgoutput')")
}

// patient waits a little before it reads again after it got little: a reader that
// is faster than PostgreSQL is otherwise woken for every few bytes, and slower.
type patient struct {
	net.Conn
	last int
}

func dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &patient{Conn: conn}, err
}

func (p *patient) Read(b []byte) (int, error) {
	if 0 < p.last && p.last < 64<<10 {
		time.Sleep(time.Millisecond)
	}
	n, err := p.Conn.Read(b)
	p.last = n
	return n, err
}

// readRows handles so many rows.
func readRows(conn *pgconn.PgConn, done *atomic.Int64, total int64) error {
	const header = 1 + 3*8
	var row [][]byte
	for done.Load() < total {
		m, err := conn.ReceiveMessage(context.Background())
		if err != nil {
			return err
		}
		d, ok := m.(*pgproto3.CopyData)
		if !ok || d.Data[0] != pglogrepl.XLogDataByteID {
			continue
		}
		switch data := d.Data[header:]; data[0] {
		case 'I', 'U', 'D':
			if row, err = lastTuple(data[5:], row); err != nil {
				return err
			}
			if _, err := encodeRow(row); err != nil {
				return err
			}
			done.Add(1)
		}
	}
	return nil
}

// lastTuple reads the row as it is now, or as it was where it is deleted. Both may
// be there: the last counts (PostgreSQL's manual, "Logical Replication Message
// Formats").
func lastTuple(src []byte, row [][]byte) ([][]byte, error) {
	for len(src) > 3 {
		n := int(binary.BigEndian.Uint16(src[1:]))
		src, row = src[3:], row[:0]
		for range n {
			if src[0] != 't' {
				row, src = append(row, nil), src[1:]
				continue
			}
			size := int(binary.BigEndian.Uint32(src[1:]))
			row, src = append(row, src[5:5+size]), src[5+size:]
		}
	}
	if len(row) < 5 {
		return nil, errors.New("a row of organizations has five columns")
	}
	return row, nil
}

func encodeRow(row [][]byte) ([]byte, error) {
	o := &organizationv1.Organization{Id: string(row[0]), Name: string(row[1]), Status: organizationv1.OrganizationStatus_ORGANIZATION_STATUS_ACTIVE}
	for i, to := range [...]**timestamppb.Timestamp{&o.CreatedAt, &o.UpdatedAt} {
		t, err := time.Parse("2006-01-02 15:04:05.999999-07", string(row[2+i]))
		if err != nil {
			return nil, err
		}
		*to = timestamppb.New(t)
	}
	return proto.Marshal(o)
}
