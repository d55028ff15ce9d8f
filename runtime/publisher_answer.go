package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ponix/runtime/wire"
)

var (
	errNoAck    = errors.New("the stream did not acknowledge in time")
	errNoStream = errors.New("no stream takes this subject")
	errAborted  = errors.New("what was published before has failed")
)

// answered handles one acknowledgement.
func (p *Publisher) answered(m *nats.Msg) {
	first, second, _ := strings.Cut(m.Subject[len(p.prefix):], ".")
	i, err := strconv.ParseUint(first, 36, 32)
	if err != nil || i >= uint64(len(p.slots)) {
		return
	}
	round, err := strconv.ParseUint(second, 36, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	batch := p.land(int(i), round)
	p.mu.Unlock()
	if batch != nil {
		p.finishBatch(batch, ackError(m))
		return
	}
	p.finish(int(i), round, ackError(m))
}

// ackError reads a PubAck: nil where the message is stored, now or before.
func ackError(m *nats.Msg) error {
	if bytes.HasPrefix(m.Data, []byte(`{"stream":`)) {
		return nil
	}
	if wire.NobodyAnswers(m) {
		return errNoStream
	}
	if len(m.Data) == 0 {
		return fmt.Errorf("an empty acknowledgement (%s)", m.Header.Get("Description"))
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error == nil {
		return nil
	}
	if errors.Is(ack.Error, jetstream.ErrStreamMessageExceedsMaximum) { // by what somebody has set for the stream
		return fmt.Errorf("%w: %w", nats.ErrMaxPayload, ack.Error)
	}
	return ack.Error
}
