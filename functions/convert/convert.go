// Package convert is where a payload becomes JSON: each raw envelope is
// converted by the CEL expression of its device and published as a processed
// envelope. How an expression is run stands in functions/internal/conversion.
package convert

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ponix/functions/internal/conversion"
	"ponix/nats/streams"
	enddevicev1 "ponix/proto/ponix/end_device/v1"
	envelopev1 "ponix/proto/ponix/envelope/v1"
	"ponix/runtime"
	"ponix/runtime/wire"
)

// New returns the function: the pipeline's conversion, and its dry run.
func New(js jetstream.JetStream, s streams.Config, c *conversion.Converter, devices *Devices) runtime.Function {
	f := converter{c, devices, s}
	return runtime.Func("convert",
		runtime.Endpoint(envelopev1.ConversionService_ConvertPayload_FullMethodName, f.dryRun),
		runtime.Transform(s.RawEnvelopes(), streams.Convert, s.ProcessedEnvelopes(), subject, f.convert),
		runtime.Source("end_devices", devices.follow(js, s.EndDeviceEvents(), devices.deviceEvent), s.EndDeviceEvents()),
		runtime.Source("organizations", devices.follow(js, s.OrganizationEvents(), devices.organizationEvent), s.OrganizationEvents())).
		Described("payloads to JSON, by CEL and Cayenne LPP")
}

func subject(e *envelopev1.ProcessedEnvelope) []string {
	return []string{e.OrganizationId, e.EndDeviceId}
}

type converter struct {
	*conversion.Converter
	devices *Devices
	streams streams.Config
}

// convert turns a raw envelope into a processed one.
func (f converter) convert(ctx context.Context, raw *envelopev1.RawEnvelope) (*envelopev1.ProcessedEnvelope, error) {
	about := runtime.MessageFrom(ctx)
	received, err := receivedAt(raw, about.Stored)
	if err != nil {
		return nil, runtime.Terminate(err)
	}
	if f.streams.OwnSubject && about.Subject != f.streams.RawEnvelopes().Subject(raw.OrganizationId, raw.DeviceId) {
		return nil, runtime.Terminate(runtime.Error(codes.PermissionDenied, "SUBJECT_MISMATCH", "an envelope of device %q of organization %q was published to %s", raw.DeviceId, raw.OrganizationId, about.Subject))
	}
	dev, err := f.devices.resolve(ctx, raw.DeviceId, time.Time{})
	if err != nil {
		return nil, f.devices.fate(err, about)
	}
	result, err := f.run(ctx, dev, raw, received)
	if err != nil && time.Since(dev.at) > fresh {
		// The device may have been mended since: what was cached decides no fate.
		if dev, err = f.devices.resolve(ctx, raw.DeviceId, time.Now()); err != nil {
			return nil, f.devices.fate(err, about)
		}
		result, err = f.run(ctx, dev, raw, received)
	}
	if err != nil {
		return nil, f.devices.fate(err, about)
	}
	defer result.Release()
	var made struct { // in one piece
		envelopev1.ProcessedEnvelope
		occurred, processed timestamppb.Timestamp
	}
	out := &made.ProcessedEnvelope
	out.EndDeviceId, out.OrganizationId, out.EnvelopeId = raw.DeviceId, raw.OrganizationId, about.ID
	out.OccurredAt, out.ProcessedAt = &made.occurred, &made.processed
	setTime(out.OccurredAt, received)
	setTime(out.ProcessedAt, time.Now().Truncate(time.Microsecond))
	if !result.Exact() {
		out.DataJson, err = result.AppendJSON(nil)
		return out, err
	}
	setData(out, result)
	return out, nil
}

func setTime(to *timestamppb.Timestamp, t time.Time) {
	to.Seconds, to.Nanos = t.Unix(), int32(t.Nanosecond())
}

// setData gives e its data in encoded form: a Struct of many small messages would
// take a fifth of the pipeline's time. A message is encoded with its unknown fields
// as they are, and whoever decodes it finds data.
func setData(e *envelopev1.ProcessedEnvelope, result conversion.Result) {
	const field = 3 // data
	encoded, ok := result.AppendStruct(nil, field)
	if !ok {
		e.Data = result.Struct() // which cannot be encoded, and says why
		return
	}
	e.ProtoReflect().SetUnknown(encoded)
}

// run checks that the envelope is the device's, and evaluates.
func (f converter) run(ctx context.Context, dev device, raw *envelopev1.RawEnvelope, received time.Time) (conversion.Result, error) {
	switch {
	case dev.tenant.id != raw.OrganizationId:
		return conversion.Result{}, runtime.Error(codes.FailedPrecondition, "ORGANIZATION_MISMATCH", "device %s does not belong to organization %q", raw.DeviceId, raw.OrganizationId)
	case dev.organizationDeleted:
		return conversion.Result{}, deleted(raw.OrganizationId)
	}
	return f.Convert(ctx, dev.expression.Value(), dev.input(raw.Payload, received))
}

func deleted(organization string) error {
	return runtime.Error(codes.FailedPrecondition, "ORGANIZATION_DELETED", "organization %s is deleted", organization)
}

// input is what an expression sees of a payload of the device.
func (d device) input(payload []byte, received time.Time) conversion.Input {
	return conversion.Input{
		Payload: payload, ReceivedAt: received,
		DeviceID: d.id, DeviceName: d.name, OrganizationID: d.tenant.id,
	}
}

// dryRun converts a payload that a caller sends.
func (f converter) dryRun(ctx context.Context, req *envelopev1.ConvertPayloadRequest) (*envelopev1.ConvertPayloadResponse, error) {
	in := conversion.Input{Payload: req.Payload, ReceivedAt: time.Now()}
	expression := req.GetExpression()
	if id := req.GetDeviceId(); id != "" {
		if err := f.visible(ctx, id); err != nil {
			return nil, err
		}
		dev, err := f.devices.resolve(ctx, id, time.Now())
		if err != nil {
			return nil, err
		}
		if dev.organizationDeleted {
			return nil, deleted(dev.tenant.id)
		}
		expression, in = dev.expression.Value(), dev.input(in.Payload, in.ReceivedAt)
	}
	result, err := f.Convert(ctx, expression, in)
	if err != nil {
		return nil, refused(req, err)
	}
	return &envelopev1.ConvertPayloadResponse{Data: result.Struct()}, nil
}

// refused is what the caller of a dry run gets for err. The expression of a device is in no
// field of the request.
func refused(req *envelopev1.ConvertPayloadRequest, err error) error {
	var bad *conversion.Error
	if !errors.As(err, &bad) {
		return err
	}
	field := ""
	switch bad.Reason {
	case conversion.InvalidExpression, conversion.ExpressionTooLong, conversion.NoExpression:
		if req.GetDeviceId() != "" {
			return wire.Error(codes.FailedPrecondition, bad.Reason, bad.Message)
		}
		field = "expression"
	case conversion.PayloadTooLarge:
		field = "payload"
	}
	var details []protoadapt.MessageV1
	if field != "" {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*runtime.Violation{{Field: field, Description: bad.Message, Reason: bad.Reason}}})
	}
	return wire.Error(codes.InvalidArgument, bad.Reason, bad.Message, details...)
}

// visible asks for a device as the caller, to whom another tenant's is unknown.
// What the pipeline remembers of devices is neither used nor changed.
func (f converter) visible(ctx context.Context, id string) error {
	if runtime.Tenant(ctx) == "" {
		return nil
	}
	_, err := f.devices.devices.GetEndDevice(runtime.AsCaller(ctx), &enddevicev1.GetEndDeviceRequest{DeviceId: id})
	if status.Code(err) == codes.NotFound {
		return unknown(id)
	}
	return err
}

// receivedAt is when the envelope was received, in whole microseconds.
func receivedAt(raw *envelopev1.RawEnvelope, stored time.Time) (time.Time, error) {
	if raw.OrganizationId == "" || raw.DeviceId == "" {
		return time.Time{}, runtime.Error(codes.InvalidArgument, "INVALID_ENVELOPE", "the envelope has no organization_id or no device_id")
	}
	if raw.ReceivedAt == nil {
		return stored.Truncate(time.Microsecond), nil
	}
	if err := raw.ReceivedAt.CheckValid(); err != nil {
		return time.Time{}, runtime.Error(codes.InvalidArgument, "INVALID_ENVELOPE", "received_at: %v", err)
	}
	return raw.ReceivedAt.AsTime().Truncate(time.Microsecond), nil
}
