package enddevice_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	enddevice "ponix/functions/end_device"
	"ponix/functions/internal/functiontest"
	"ponix/functions/internal/page"
	pb "ponix/proto/ponix/end_device/v1"
	"ponix/runtime"
)

// check refuses what has "bad" in it, and what is none: that is for devices without conversion.
func check(expression string) error {
	if expression == "" {
		return errors.New("there is no expression")
	}
	if strings.Contains(expression, "bad") {
		return errors.New("line 1, column 7: 100% bad")
	}
	return nil
}

func start(t *testing.T) (*functiontest.Env, pb.EndDeviceServiceClient) {
	t.Helper()
	e := functiontest.Start(t, func(db *pgxpool.Pool) []runtime.Function { return []runtime.Function{enddevice.New(db, check)} })
	return e, pb.NewEndDeviceServiceClient(e)
}

func create(t *testing.T, c pb.EndDeviceServiceClient, org string) *pb.EndDevice {
	t.Helper()
	resp, err := c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: org, Name: " sensor ", PayloadConversion: "{'a': 1}"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.EndDevice
}

func get(t *testing.T, c pb.EndDeviceServiceClient, id string) *pb.EndDevice {
	t.Helper()
	resp, err := c.GetEndDevice(t.Context(), &pb.GetEndDeviceRequest{DeviceId: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.EndDevice
}

func TestLife(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	d := create(t, c, org)
	if len(d.DeviceId) != 20 || d.OrganizationId != org || d.Name != "sensor" || d.PayloadConversion != "{'a': 1}" || !d.UpdatedAt.AsTime().Equal(d.CreatedAt.AsTime()) {
		t.Fatalf("made %v", d)
	}
	if got := get(t, c, d.DeviceId); !proto.Equal(got, d) {
		t.Fatalf("made %v, got %v", d, got)
	}
	if _, err := c.DeleteEndDevice(t.Context(), &pb.DeleteEndDeviceRequest{DeviceId: d.DeviceId}); err != nil {
		t.Fatal(err)
	}
	wantNotFound(t, c, d.DeviceId)
}

func TestBatchGet(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	a, b := create(t, c, e.Organization(t)), create(t, c, e.Organization(t))
	for _, ids := range [][]string{{a.DeviceId, "nobody", b.DeviceId}, {b.DeviceId, a.DeviceId, b.DeviceId}} {
		resp, err := c.BatchGetEndDevices(t.Context(), &pb.BatchGetEndDevicesRequest{DeviceIds: ids})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]*pb.EndDevice{}
		for _, d := range resp.EndDevices {
			got[d.DeviceId] = d
		}
		if len(resp.EndDevices) != 2 || !proto.Equal(got[a.DeviceId], a) || !proto.Equal(got[b.DeviceId], b) {
			t.Errorf("%v: got %v", ids, resp.EndDevices)
		}
	}
	_, err := c.BatchGetEndDevices(t.Context(), &pb.BatchGetEndDevicesRequest{DeviceIds: []string{a.DeviceId, "no id"}})
	functiontest.WantInvalid(t, err, "device_ids[1]")
	for _, ids := range [][]string{nil, make([]string, 1001)} {
		_, err := c.BatchGetEndDevices(t.Context(), &pb.BatchGetEndDevicesRequest{DeviceIds: ids})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), "device_ids") {
			t.Errorf("%d ids: got %v", len(ids), err)
		}
	}
}

func wantNotFound(t *testing.T, c pb.EndDeviceServiceClient, id string) {
	t.Helper()
	_, err := c.GetEndDevice(t.Context(), &pb.GetEndDeviceRequest{DeviceId: id})
	functiontest.WantError(t, err, codes.NotFound, "END_DEVICE_NOT_FOUND")
	_, err = c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: id, Name: new("x")})
	functiontest.WantError(t, err, codes.NotFound, "END_DEVICE_NOT_FOUND")
	_, err = c.DeleteEndDevice(t.Context(), &pb.DeleteEndDeviceRequest{DeviceId: id})
	functiontest.WantError(t, err, codes.NotFound, "END_DEVICE_NOT_FOUND")
}

func TestUpdateChangesWhatIsPresent(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	was := create(t, c, e.Organization(t))
	for _, step := range []struct {
		name, conversion *string
	}{
		{new(" pump"), nil},
		{nil, new("{'b': 2}")},
		{nil, nil},
		{nil, new("")}, // which removes it
		{new("valve"), new("{'c': 3}")},
	} {
		want := proto.CloneOf(was)
		if step.name != nil {
			want.Name = strings.TrimSpace(*step.name)
		}
		if step.conversion != nil {
			want.PayloadConversion = *step.conversion
		}
		resp, err := c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: was.DeviceId, Name: step.name, PayloadConversion: step.conversion})
		if err != nil {
			t.Fatal(err)
		}
		got := resp.EndDevice
		if !got.UpdatedAt.AsTime().After(was.UpdatedAt.AsTime()) {
			t.Errorf("updated at %v, and before that at %v", got.UpdatedAt.AsTime(), was.UpdatedAt.AsTime())
		}
		want.UpdatedAt = got.UpdatedAt
		if !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if stored := get(t, c, was.DeviceId); !proto.Equal(stored, got) {
			t.Errorf("stored %v, returned %v", stored, got)
		}
		was = got
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	_, err := c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: "", Name: "  "})
	functiontest.WantInvalid(t, err, "organization_id", "name")
	d := create(t, c, org)
	_, err = c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: d.DeviceId, Name: new("")})
	functiontest.WantInvalid(t, err, "name")
	for _, expression := range []string{"bad", "'\x00'"} {
		_, err = c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: org, Name: "x", PayloadConversion: expression})
		functiontest.WantInvalid(t, err, "payload_conversion")
		_, err = c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: d.DeviceId, PayloadConversion: new(expression)})
		functiontest.WantInvalid(t, err, "payload_conversion")
	}
	_, err = c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: d.DeviceId, PayloadConversion: new("bad")})
	if !strings.Contains(status.Convert(err).Message(), "line 1, column 7: 100% bad") {
		t.Errorf("the position is lost: %v", err)
	}
	if got := get(t, c, d.DeviceId); !proto.Equal(got, d) {
		t.Errorf("a refused update left %v", got)
	}
}

func TestOrganizationIsDeleted(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	d := create(t, c, org)
	e.DeleteOrganization(t, org)
	for _, id := range []string{org, "nobody"} {
		_, err := c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: id, Name: "x"})
		functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
		_, err = c.ListEndDevices(t.Context(), &pb.ListEndDevicesRequest{OrganizationId: id})
		functiontest.WantError(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
	}
	if got := get(t, c, d.DeviceId); !proto.Equal(got, d) { // the pipeline needs it
		t.Errorf("got %v", got)
	}
	_, err := c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: d.DeviceId, Name: new("x")})
	functiontest.WantError(t, err, codes.NotFound, "END_DEVICE_NOT_FOUND")
	if _, err := c.DeleteEndDevice(t.Context(), &pb.DeleteEndDeviceRequest{DeviceId: d.DeviceId}); err != nil {
		t.Error(err)
	}
}

// A device is not created in an organization whose deletion is under way.
func TestCreateWaitsForADeletion(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	for _, deletes := range []bool{true, false} {
		org := e.Organization(t)
		functiontest.DuringDeletion(t, e, org, deletes, func() error {
			_, err := c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: org, Name: "x"})
			return err
		})
	}
}

func list(t *testing.T, c pb.EndDeviceServiceClient, org string) functiontest.List {
	return func(size int32, token string) (ids []string, next string, err error) {
		resp, err := c.ListEndDevices(t.Context(), &pb.ListEndDevicesRequest{OrganizationId: org, PageSize: size, PageToken: token})
		for _, d := range resp.GetEndDevices() {
			ids = append(ids, d.DeviceId)
		}
		return ids, resp.GetNextPageToken(), err
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org, other := e.Organization(t), e.Organization(t)
	create(t, c, other)
	foreign := page.Token(pb.EndDeviceService_ListEndDevices_FullMethodName+"\x00"+other, page.Key{Time: time.Now(), ID: "x"})
	functiontest.Pages(t, list(t, c, org), func() string {
		id := create(t, c, org).DeviceId
		if _, err := c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: id}); err != nil { // which moves nothing
			t.Fatal(err)
		}
		return id
	}, foreign)
}

func TestListSizes(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	org := e.Organization(t)
	e.Exec(t, "INSERT INTO end_devices (id, organization_id, name) SELECT 'd' || n, $1, 'sensor' FROM generate_series(1, 1002) AS n", org)
	functiontest.Sizes(t, list(t, c, org))
}

// TestEveryBadField holds that all bad fields are told at once, by whatever they are found.
func TestEveryBadField(t *testing.T) {
	t.Parallel()
	e, c := start(t)
	_, err := c.CreateEndDevice(t.Context(), &pb.CreateEndDeviceRequest{OrganizationId: "no id", Name: " ", PayloadConversion: "bad"})
	functiontest.WantInvalid(t, err, "organization_id", "name", "payload_conversion")
	d := create(t, c, e.Organization(t))
	_, err = c.UpdateEndDevice(t.Context(), &pb.UpdateEndDeviceRequest{DeviceId: d.DeviceId, Name: new(""), PayloadConversion: new("'\x00'")})
	functiontest.WantInvalid(t, err, "name", "payload_conversion")
}
