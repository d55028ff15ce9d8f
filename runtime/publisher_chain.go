package runtime

import "github.com/nats-io/nats.go"

// PublishChain is Publish for messages of which the server refuses each, by what its
// headers expect, unless it has stored the one before: only the last is answered, for all
// of them. They are not more than the window, and only one goroutine may publish, and
// not in batches.
func (p *Publisher) PublishChain(chain []*nats.Msg, done func(error)) {
	p.Await(len(chain))
	size, last := int64(0), len(chain)-1
	for _, m := range chain[:last] {
		size += int64(len(m.Data))
		if err := p.conn.PublishMsg(m); err != nil {
			done(err)
			return
		}
	}
	p.publish(outgoing{Msg: chain[last]}, len(chain), size+int64(len(chain[last].Data)), done)
}
