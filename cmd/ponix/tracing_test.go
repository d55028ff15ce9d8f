package main

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"ponix/runtime/runtimetest"
)

// collector takes spans as an OpenTelemetry collector does.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	mu  sync.Mutex
	got []*tracev1.ResourceSpans
}

func (c *collector) Export(_ context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, req.ResourceSpans...)
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// TestTraces holds that spans go to where OpenTelemetry's variables say, and that those
// which are left when an instance stops do, too.
func TestTraces(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, c)
	go s.Serve(ln) //nolint:errcheck // what is not exported fails the test
	t.Cleanup(s.Stop)
	srv := runtimetest.NATSServer(t)
	p := start(t, []string{
		"PONIX_NATS_URL=" + srv.ClientURL(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + ln.Addr().String(),
		"OTEL_BSP_SCHEDULE_DELAY=600000", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test",
	}, "serve", "convert")
	p.waitFor(t, 20*time.Second, "msg=serving")
	const trace = "0af7651916cd43dd8448eb211c80319c"
	m := nats.NewMsg("ponix.envelope.v1.ConversionService.ConvertPayload")
	m.Data = []byte(`{"expression":"{\"n\": 1}","payload":"AA=="}`)
	m.Header.Set("traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	reply, err := runtimetest.Connect(t, srv).RequestMsg(m, 5*time.Second)
	if err != nil || !strings.Contains(string(reply.Data), `"n":1`) {
		t.Fatalf("got %v, %v", reply, err)
	}
	p.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it runs
	<-p.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	var found int
	for _, r := range c.got {
		about := map[string]string{}
		for _, a := range r.Resource.Attributes {
			about[a.Key] = a.Value.GetStringValue()
		}
		if about["service.name"] != "ponix" || about["deployment.environment.name"] != "test" {
			t.Errorf("the resource is %v", about)
		}
		for _, scope := range r.ScopeSpans {
			for _, span := range scope.Spans {
				if hex.EncodeToString(span.TraceId) == trace && hex.EncodeToString(span.ParentSpanId) == "b7ad6b7169203331" && strings.Contains(span.Name, "ConvertPayload") {
					found++
				}
			}
		}
	}
	if found != 1 {
		t.Errorf("%d spans of the call: %v", found, c.got)
	}
}

// TestTracesElsewhere holds that what Ponix cannot do is said at once, and by the name of
// the variable that says it. Without a scheme an address with numbers is no URL, and the
// exporter would send to another place.
func TestTracesElsewhere(t *testing.T) {
	t.Parallel()
	env := []string{"PONIX_NATS_URL=nats://127.0.0.1:1", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"}
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_RESOURCE_ATTRIBUTES": "nonsense",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "localhost:4317",
	} {
		_, err := call(t, append(env, variable+"="+value), "serve", "convert")
		if err == nil || !strings.Contains(err.Error(), "exit code 2: ") || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: got %v", variable, err)
		}
	}
}

// TestTracesOddly holds that a sampler that nobody knows, which means all spans, is warned of.
func TestTracesOddly(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"PONIX_NATS_URL=nats://127.0.0.1:1", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_SAMPLER=ratio"}, "serve", "convert")
	p.waitFor(t, 20*time.Second, `level=WARN msg=traces error="unsupported sampler: ratio"`)
}
