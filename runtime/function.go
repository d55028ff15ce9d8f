package runtime

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"ponix/nats/streams"
)

// Function is the unit of deployment: a name and what invokes it. It is hosted
// as a NATS micro service of that name.
type Function struct {
	Name     string
	Bindings []Binding
	About    string // for people: what `nats micro ls` shows
	Buckets  []jetstream.KeyValueConfig
}

// Func groups bindings under a name.
func Func(name string, b ...Binding) Function { return Function{Name: name, Bindings: b} }

// Described returns f with a few words for people.
func (f Function) Described(about string) Function {
	f.About = about
	return f
}

// Keeping returns f with the buckets that it works on: they exist when it starts.
func (f Function) Keeping(buckets ...jetstream.KeyValueConfig) Function {
	f.Buckets = append(f.Buckets, buckets...)
	return f
}

// Binding connects one handler to one source of work. Build it with [Endpoint],
// [Transform], [OnMessage], [OnBatch] or [Source].
type Binding struct {
	name    string
	check   func() error
	streams []streams.Stream // that must exist before it starts
	start   func(ctx context.Context, b *binding) error
}

var functionName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Check reports wiring mistakes, each by name, without a server: bad and
// duplicate names, unknown RPCs, handlers whose types are not the RPC's,
// consumers that the stream does not have.
func Check(fns ...Function) error {
	var errs []error
	owner := map[string]string{}
	names := map[string]bool{}
	for _, fn := range fns {
		if !functionName.MatchString(fn.Name) {
			errs = append(errs, fmt.Errorf("function %q: a name has letters, digits, '_' and '-' only", fn.Name))
		}
		if names[fn.Name] {
			errs = append(errs, fmt.Errorf("function %s is listed twice", fn.Name))
		}
		names[fn.Name] = true
		for _, b := range fn.Bindings {
			if other, taken := owner[b.name]; taken {
				errs = append(errs, fmt.Errorf("function %s: %s is bound by %s already", fn.Name, b.name, other))
			}
			owner[b.name] = fn.Name
			if err := b.check(); err != nil {
				errs = append(errs, fmt.Errorf("function %s: %w", fn.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// A message is a pointer to what protoc-gen-go makes of a message in a .proto.
type message[T any] interface {
	*T
	proto.Message
}
