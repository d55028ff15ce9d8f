package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
)

// readers asks over gRPC while things break. An answer may fail to come; one that
// comes has to hold everything that was acknowledged before it was asked for.
type readers struct {
	l       *load
	answers int
	wrong   []string
	stored  map[string]bool // envelopes of the first seconds that an answer held
	until   time.Time       // of those seconds
}

// run asks for one thing after the other until ctx is done.
func (r *readers) run(ctx context.Context) {
	r.stored, r.until = map[string]bool{}, time.Now().Add(5*time.Second)
	for i := 0; wait(ctx, 50*time.Millisecond) == nil; i++ {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		var err error
		switch {
		case i%20 == 10:
			err = r.listDevices(try)
		case i%20 == 0 && time.Now().After(r.until):
			err = r.listEnvelopes(try)
		default:
			err = r.getDevice(try)
		}
		cancel()
		if err == nil {
			r.answers++
		}
	}
}

func (r *readers) complain(format string, args ...any) {
	r.wrong = append(r.wrong, "read: "+fmt.Sprintf(format, args...))
}

// fits tells whether a device that was acknowledged under one name may have another:
// only its renaming may be on its way.
func fits(acknowledged, got string) bool {
	return got == acknowledged || got == acknowledged+renamed
}

func (r *readers) acknowledged() map[string]string {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return maps.Clone(r.l.devices)
}

func (r *readers) getDevice(ctx context.Context) error {
	for id, name := range r.acknowledged() {
		got, err := enddevicev1.NewEndDeviceServiceClient(r.l.w.conn).GetEndDevice(ctx, &enddevicev1.GetEndDeviceRequest{DeviceId: id})
		if status.Code(err) == codes.NotFound {
			r.complain("the device %s (%s) is not found", id, name)
		}
		if err == nil && !fits(name, got.EndDevice.Name) {
			r.complain("the device %s is %q, and was %q", id, got.EndDevice.Name, name)
		}
		return err
	}
	return nil
}

func (r *readers) listDevices(ctx context.Context) error {
	acknowledged, names := r.acknowledged(), map[string]string{}
	req := &enddevicev1.ListEndDevicesRequest{OrganizationId: r.l.organization, PageSize: 100}
	for {
		page, err := enddevicev1.NewEndDeviceServiceClient(r.l.w.conn).ListEndDevices(ctx, req)
		if err != nil {
			return err
		}
		for _, d := range page.EndDevices {
			if _, twice := names[d.DeviceId]; twice {
				r.complain("the device %s is listed twice", d.DeviceId)
			}
			names[d.DeviceId] = d.Name
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	for id, name := range acknowledged {
		if got, listed := names[id]; !listed || !fits(name, got) {
			r.complain("the device %s (%s) is listed as %q", id, name, got)
		}
	}
	return nil
}

// listEnvelopes asks for the envelopes of the first seconds. Each is listed once, is
// what was sent, and is never missing again in a later answer.
func (r *readers) listEnvelopes(ctx context.Context) error {
	listed := map[string]bool{}
	req := &envelopev1.ListProcessedEnvelopesRequest{OrganizationId: r.l.organization, EndDeviceId: r.l.device, PageSize: 500, EndTime: timestamppb.New(r.until)}
	for {
		page, err := envelopev1.NewEnvelopeServiceClient(r.l.w.conn).ListProcessedEnvelopes(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range page.Envelopes {
			if listed[e.EnvelopeId] {
				r.complain("the envelope %s is listed twice", e.EnvelopeId)
			}
			listed[e.EnvelopeId] = true
			n := uint64(e.Data.Fields["n"].GetNumberValue())
			if e.EnvelopeId != r.l.prefix+strconv.FormatUint(n, 10) {
				r.complain("the envelope %s holds %d", e.EnvelopeId, n)
			}
		}
		if req.PageToken = page.NextPageToken; req.PageToken == "" {
			break
		}
	}
	for id := range r.stored {
		if !listed[id] {
			r.complain("the envelope %s was listed before, and is not any more", id)
		}
	}
	r.stored = listed
	return nil
}

// last asks once more when nothing breaks any more: there has to be an answer, with all
// that was sent.
func (r *readers) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for what, ask := range map[string]func(context.Context) error{"a list of devices": r.listDevices, "a list of envelopes": r.listEnvelopes} {
		err := ask(ctx)
		for err != nil && wait(ctx, time.Second) == nil {
			err = ask(ctx)
		}
		if err != nil {
			r.complain("%s is not answered: %v", what, err)
			return
		}
		r.answers++
	}
	for n, received := range r.l.received {
		if id := r.l.prefix + strconv.Itoa(n); !received.IsZero() && received.Before(r.until) && !r.stored[id] {
			r.complain("the envelope %s is not listed", id)
		}
	}
}
