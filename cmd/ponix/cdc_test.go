package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	cdcv1 "ponix/proto/ponix/cdc/v1"
	organizationv1 "ponix/proto/ponix/organization/v1"
	"ponix/runtime/runtimetest"
)

// capture waits until `ponix cdc status` satisfies is.
func (c *cluster) capture(t *testing.T, within time.Duration, is func(*cdcv1.GetCdcStatusResponse) bool) *cdcv1.GetCdcStatusResponse {
	t.Helper()
	s := &cdcv1.GetCdcStatusResponse{}
	runtimetest.Eventually(t, within, func() error {
		out, err := call(t, c.env, "cdc", "status", "--format", "json")
		if err == nil {
			err = protojson.Unmarshal([]byte(out), s)
		}
		if err == nil && !is(s) {
			err = fmt.Errorf("the status is %v", s)
		}
		return err
	})
	return s
}

// TestCapture makes changes by RPC, sees their events, and kills the owner.
func TestCapture(t *testing.T) {
	t.Parallel()
	c := enginesOnly(t)
	first := start(t, c.env, "serve")
	owner := c.capture(t, 20*time.Second, func(s *cdcv1.GetCdcStatusResponse) bool { return s.Owner != "" && s.ConfirmedLsn != "0/0" }).Owner
	start(t, c.env, "serve").waitFor(t, 20*time.Second, "msg=serving")
	wantEvent := func(sequence uint64, id, operation string) {
		t.Helper()
		runtimetest.Eventually(t, 5*time.Second*slow, func() error {
			s, err := c.js.Stream(t.Context(), "organizations")
			if err != nil {
				return err
			}
			m, err := s.GetMsg(t.Context(), sequence)
			if err != nil {
				return err
			}
			var o organizationv1.Organization
			if err := proto.Unmarshal(m.Data, &o); err != nil || o.Id != id || m.Header.Get("Ponix-Operation") != operation {
				t.Fatalf("event %d is %s of %v, %v", sequence, m.Header.Get("Ponix-Operation"), &o, err)
			}
			return nil
		})
	}
	org := c.organization(t)
	wantEvent(1, org, "insert")
	first.kill(t)
	remove := func() error {
		_, err := c.organizations.DeleteOrganization(t.Context(), &organizationv1.DeleteOrganizationRequest{OrganizationId: org})
		return err
	}
	err := remove()
	if status.Code(err) == codes.DeadlineExceeded { // it was sent to the one that was killed just then
		err = remove()
	}
	if err != nil {
		t.Fatal(err)
	}
	wantEvent(2, org, "update")
	s := c.capture(t, 5*time.Second, func(s *cdcv1.GetCdcStatusResponse) bool { return s.Active && s.EventsPublished == 1 })
	if s.Owner == "" || s.Owner == owner {
		t.Errorf("the owner is %q, and was %q", s.Owner, owner)
	}
	if out := must(t, c.env, "cdc", "status"); !strings.Contains(out, s.Owner) || !strings.Contains(out, "bytes") {
		t.Errorf("for people:\n%s", out)
	}
	runtimetest.Eventually(t, 10*time.Second, func() error {
		for line := range strings.Lines(must(t, c.env, "ps", "--format", "json")) {
			var row psRow
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				return err
			}
			if row.Binding == "slot" && row.Gauges["owner"] == 1 && row.Gauges["confirmed_lsn"] > 0 && row.Gauges["server_lsn"] > 0 && row.Handled > 0 {
				return nil
			}
		}
		return errors.New("ps does not show how far it is")
	})
}
