package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/nats/streams"
	"ponix/runtime/deadletter"
)

// statusAhead is how many other messages are looked at after one of buryStatus.
const statusAhead = 256

// buryStatus makes a dead letter of the first message at or after that sequence, which
// is not settled, where it has no payload and a header Status: nats.go takes such a
// message for a word of the server's (a heartbeat, the end of the consumer), so that no
// handler ever gets it, and it would come again for ever. Where there is one there may be
// many, each of which can hold up all others: then it looks further.
func (h *Host) buryStatus(ctx context.Context, stream jetstream.Stream, function string, from uint64) error {
	for look := 1; look > 0; look-- {
		m, err := h.nextMessage(ctx, stream.CachedInfo().Config.Name, from, ">")
		if err != nil || m == nil {
			return err
		}
		from = m.Sequence + 1
		if len(m.Data) > 0 || m.header.Get("Status") == "" {
			continue
		}
		if err := h.buryStored(ctx, stream, function, m); err != nil {
			return err
		}
		look = statusAhead
	}
	return nil
}

func (h *Host) buryStored(ctx context.Context, stream jetstream.Stream, function string, m *stored) error {
	info := stream.CachedInfo()
	letter := deadletter.Letter{
		Function: function, Reason: "STATUS_HEADER", Error: "the message has no payload and a header Status, which is the server's alone",
		ID: streamID(m.Time, m.Sequence), Stored: m.Time, Arrived: m.Time,
		Stream: info.Config.Name, Subject: m.Subject, Sequence: m.Sequence, Header: m.header,
	}.Message(h.Streams.DeadLetters().Name)
	if err := h.putLetter(ctx, deadletter.ShortenHeaders(letter)); err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	return nil
}

// stored is a message as the server's STREAM.MSG.GET has it.
type stored struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Headers  []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
	header   nats.Header
}

// nextMessage is the first message at or after a sequence whose subject matches, nil where
// there is none. nats.go would take some of its headers, such as Status and
// Nats-Time-Stamp, for the server's, and may ask a replica that does not have it yet.
// Headers that cannot be read are left out, as they are for a consumer.
func (h *Host) nextMessage(ctx context.Context, stream string, from uint64, subject string) (*stored, error) {
	request, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": subject})
	if err != nil {
		return nil, err
	}
	reply, err := h.Conn.RequestWithContext(ctx, streams.API(h.js)+"STREAM.MSG.GET."+stream, request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return nil, err
	case answer.Error != nil && answer.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, nil
	}
	answer.Message.header, _ = nats.DecodeHeadersMsg(answer.Message.Headers)
	return answer.Message, nil
}
