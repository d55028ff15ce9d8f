package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"ponix/nats/streams"
)

// tail publishes what the slot has until something fails or ctx is done. It then
// waits for what is on its way, and confirms it.
func (o *owner) tail(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	o.failed = cancel
	r := &reader{owner: o, relations: map[uint32]*relation{}, began: time.Now()}
	// Reading has no context of its own, which would cost a goroutine per message.
	stop := context.AfterFunc(ctx, func() {
		o.conn.Conn().SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // it is closed already
		if outer.Err() == nil {
			o.pub.Abort() // what is on its way finds out at the stream whether it fits
		}
	})
	defer stop()
	o.inlet.handled, o.inlet.busy = o.flush, o.progress.behind
	var all sync.WaitGroup
	all.Go(func() { cancel(o.confirm(ctx, r)) })
	all.Go(func() { cancel(o.watch(ctx)) })
	cancel(r.read(ctx))
	all.Wait()
	o.stopPublisher()
	err := context.Cause(ctx)
	last, done := context.WithTimeout(context.WithoutCancel(outer), keepTimeout)
	defer done()
	if unconfirmed := o.advance(last); unconfirmed != nil {
		o.instance.Logger().Warn("what was published last is not confirmed, and will be compared with the streams", "error", unconfirmed)
	}
	return err
}

// reader is one pass over the slot.
type reader struct {
	*owner
	relations map[uint32]*relation // nil: a table that is not ours
	began     time.Time
	heard     atomic.Int64 // when PostgreSQL last sent something, in nanoseconds since began: clocks are set
	asked     atomic.Bool  // PostgreSQL wants an answer

	tx    *transaction // that is being read
	event event
}

// read handles messages until one fails or ctx is done.
func (r *reader) read(ctx context.Context) error {
	for {
		m, err := r.conn.ReceiveMessage(context.Background())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		r.heard.Store(int64(time.Since(r.began)))
		switch m := m.(type) {
		case *pgproto3.CopyData:
			if err := r.copied(ctx, m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			return errors.New("PostgreSQL has ended the stream")
		}
	}
}

// copied handles one message of the streaming replication protocol.
func (r *reader) copied(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return errShort
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		k, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return err
		}
		if r.tx == nil {
			r.progress.reached(k.ServerWALEnd)
		}
		if k.ReplyRequested {
			r.asked.Store(true)
		}
		return nil
	case pglogrepl.XLogDataByteID:
		const header = 1 + 3*8
		if len(data) < header+1 {
			return errShort
		}
		if err := r.change(ctx, data[header:]); err != nil {
			return fmt.Errorf("at %s, event %d: %w", r.event.lsn, r.event.at.index+1, err)
		}
	}
	return nil
}

// change handles one message of pgoutput, version 1: a transaction comes whole,
// after its commit, row by row. However large it is, PostgreSQL keeps it on its
// disk and only a window of its events is here.
func (r *reader) change(ctx context.Context, data []byte) error {
	switch kind := data[0]; kind {
	case 'I':
		return r.row(ctx, data, streams.Created, streams.Insert)
	case 'U':
		return r.row(ctx, data, streams.Updated, streams.Update)
	case 'D':
		return r.row(ctx, data, streams.Deleted, streams.Delete)
	case 'B', 'C', 'R', 'T':
		m, err := parse(data)
		if err != nil {
			return err
		}
		if (kind == 'B') != (r.tx == nil) && kind != 'R' {
			return fmt.Errorf("a message of the kind %q in the wrong place of a transaction", kind)
		}
		switch m := m.(type) {
		case *pglogrepl.BeginMessage:
			r.tx = r.progress.begin(m.CommitTime)
			r.event = event{at: position{uint64(m.FinalLSN), 0}, lsn: string(appendLSN(nil, uint64(m.FinalLSN))), committed: m.CommitTime.UTC().Format(time.RFC3339Nano)}
		case *pglogrepl.CommitMessage:
			r.progress.commit(r.tx, m.TransactionEndLSN)
			r.tx = nil
		case *pglogrepl.RelationMessage:
			return r.relation(m)
		case *pglogrepl.TruncateMessage:
			r.truncate(ctx, m)
		}
	}
	return nil // types and origins
}

// parse reads a message that is not of a row. The library reads on where one ends too
// early, and makes room for as many tables as a Truncate says it has.
func parse(data []byte) (m pglogrepl.Message, err error) {
	const tables, each = 1 + 4 + 1, 4 // where the ids begin, and what one takes
	if data[0] == 'T' && (len(data) < tables || uint64(len(data)-tables) < each*uint64(binary.BigEndian.Uint32(data[1:]))) {
		return nil, errShort
	}
	defer func() {
		if recover() != nil {
			m, err = nil, errShort
		}
	}()
	return pglogrepl.Parse(data)
}

// relation learns the columns of a table.
func (r *reader) relation(m *pglogrepl.RelationMessage) error {
	r.relations[m.RelationID] = nil
	e := r.tables[m.RelationID]
	if e == nil {
		return nil
	}
	var columns []column
	for _, c := range m.Columns {
		columns = append(columns, column{c.Name, c.DataType})
	}
	rel, err := relate(e, columns)
	if err != nil {
		return err
	}
	r.relations[m.RelationID] = rel
	return nil
}

// row publishes the change of a row.
func (r *reader) row(ctx context.Context, data []byte, token, operation string) error {
	if len(data) < 5 {
		return errShort
	}
	rel, known := r.relations[binary.BigEndian.Uint32(data[1:])]
	switch {
	case !known || r.tx == nil:
		return errors.New("a change of a table that was not described, or outside of a transaction")
	case rel == nil:
		return nil
	}
	t, err := rel.change(data[5:], operation == streams.Delete)
	if err != nil {
		return err
	}
	payload, err := rel.encode(t)
	if err != nil {
		return err
	}
	if operation == streams.Update && rel.renamed() { // nobody would hear of the old id again
		gone, err := rel.encode(rel.old)
		if err != nil {
			return err
		}
		r.emit(ctx, rel.entity, streams.Deleted, operation, gone)
	}
	r.emit(ctx, rel.entity, token, operation, payload)
	return nil
}

// truncate publishes, for each of our tables that was emptied, a deletion without a
// payload.
func (r *reader) truncate(ctx context.Context, m *pglogrepl.TruncateMessage) {
	for _, id := range m.RelationIDs {
		if rel := r.relations[id]; rel != nil {
			r.emit(ctx, rel.entity, streams.Deleted, streams.Truncate, nil)
		}
	}
}

func (r *reader) emit(ctx context.Context, e *entity, token, operation string, payload []byte) {
	r.event.at.index++
	r.event.token, r.event.operation, r.event.payload = token, operation, payload
	r.publish(ctx, e, r.tx, r.event)
}
