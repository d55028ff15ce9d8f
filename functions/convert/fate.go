package convert

import (
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/functions/internal/conversion"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// patience is how often an envelope of an unknown device is tried again: it may
// be on its way. With delays of 1, 2, 4, 8 and 16 seconds that is half a minute.
const (
	patience   = 5
	halfMinute = (1<<patience - 1) * time.Second
)

// hurries is how often an envelope is tried whose evaluation takes too long. That may be
// the machine's fault, or a pause of the process: what an expression may do is bounded by
// its cost, which is the same each time.
const hurries = 4

// fate says what becomes of a message: an engine that is away is waited for, an
// unknown device for a while, an evaluation that was too slow is tried again, and
// everything else will never be otherwise. Deliveries while nobody could be asked do not
// shorten the while: it begins when that is over. Nor do those to instances that
// stopped, and gave the message back as it was.
func (d *Devices) fate(err error, about runtime.Message) error {
	var bad *conversion.Error
	slow := errors.As(err, &bad) && bad.Reason == conversion.TimeExceeded
	if bad != nil {
		err = wire.Error(codes.InvalidArgument, bad.Reason, bad.Message)
	}
	age := time.Since(about.Stored) // of a replayed one, too; by its headers it may come from the future
	switch {
	case errors.As(err, new(*unknownDevice)) && (about.Attempt <= patience || age >= 0 && age < halfMinute || time.Since(d.troubled()) < halfMinute):
		return runtime.RetryAfter(time.Second<<(min(about.Attempt, patience)-1), err)
	case temporary(err), slow && about.Attempt < hurries:
		return err
	}
	return runtime.Terminate(err)
}

// temporary tells whether err says nothing about what was asked. That of a context is Unknown.
func temporary(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
