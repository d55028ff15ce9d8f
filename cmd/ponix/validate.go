package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ponix/nats/streams"
	"ponix/runtime/config"
	"ponix/runtime/wire"
)

// check is a value that can work, or not.
type check struct {
	ok             bool
	variable, must string
}

// held is a number of what there is memory for from the start.
func held(n int, variable string) check {
	return check{n >= 1 && n <= 1<<16, variable, "must be 1 to 65536"}
}

// firstBad names the variable of the first that cannot work.
func firstBad(checks ...check) error {
	for _, c := range checks {
		if !c.ok {
			return &config.Error{Variable: c.variable, Cause: errors.New(c.must)}
		}
	}
	return nil
}

// idFlag refuses what is given and can be no id.
func idFlag(flag, id string) error {
	if id != "" && !wire.IsID(id) {
		return &usageError{fmt.Errorf("%s must be an id, 1 to 64 letters, digits, '_' or '-': %q", flag, id)}
	}
	return nil
}

// validate names the variable that has a value which cannot work.
func (h hosting) validate() error {
	s, l := h.Streams, h.Limits
	return cmp.Or(validateStreams(s), firstBad(
		held(h.Concurrency, "PONIX_CONCURRENCY"),
		check{h.BatchSize >= 1, "PONIX_NATS_BATCH_SIZE", "must be at least 1"},
		check{h.BatchWait > 0 && h.BatchWait <= 60, "PONIX_NATS_BATCH_WAIT_SECS", "must be above 0, and 60 at most"},
		check{h.BatchWait < s.AckWait.Seconds(), "PONIX_NATS_BATCH_WAIT_SECS", "must be below PONIX_NATS_ACK_WAIT, " + s.AckWait.String()},
		held(h.Writers, "PONIX_CLICKHOUSE_WRITERS"),
		check{h.Devices.Size >= 1, "PONIX_DEVICE_CACHE_SIZE", "must be at least 1"},
		check{h.Devices.TTL >= 0, "PONIX_DEVICE_CACHE_TTL", "must not be negative"},
		check{h.MQTT.Lease >= 2*time.Second && h.MQTT.Lease%time.Second == 0, "PONIX_MQTT_LEASE", "must be whole seconds, and at least 2"},
		check{h.Grace > 0, "PONIX_GRACE", "must be above 0"},
		canListen("PONIX_METRICS_ADDR", h.MetricsAddr),
		check{h.Timeout > 0 && h.Timeout < s.AckWait, "PONIX_TIMEOUT", "must be above 0 and below PONIX_NATS_ACK_WAIT, " + s.AckWait.String()},
		check{l.Payload >= 0, "PONIX_CONVERSION_MAX_PAYLOAD", "must not be negative"},
		check{l.Expression >= 0, "PONIX_CONVERSION_MAX_EXPRESSION", "must not be negative"},
		check{l.Time >= 0, "PONIX_CONVERSION_TIMEOUT", "must not be negative"},
		check{l.Result >= 0, "PONIX_CONVERSION_MAX_RESULT", "must not be negative"},
		check{l.Depth >= 0, "PONIX_CONVERSION_MAX_DEPTH", "must not be negative"},
		check{l.Programs >= 0, "PONIX_CONVERSION_CACHE_SIZE", "must not be negative"},
		check{l.Texts >= 0, "PONIX_CONVERSION_CACHE_BYTES", "must not be negative"},
	), h.CDC.Check(), h.MQTT.Check())
}

// validate names the variable that has a value which cannot work.
func (e engines) validate() error {
	return firstBad(
		check{e.Postgres.Connections >= 1, "PONIX_POSTGRES_CONNECTIONS", "must be at least 1"},
		held(e.ClickHouse.Connections, "PONIX_CLICKHOUSE_CONNECTIONS"),
		check{e.TTL >= 0 && e.TTL%time.Second == 0, "PONIX_CLICKHOUSE_TTL", "must be whole seconds and not negative"},
	)
}

// validate names the variable that has a value which cannot work.
func (c *upCommand) validate() error {
	return cmp.Or(
		firstBad(check{c.DataDir != "", "PONIX_DATA_DIR", "is empty"}),
		firstBad(check{c.NATS.URL != "" || c.Streams.Domain == "", "PONIX_NATS_JETSTREAM_DOMAIN", "is for a NATS server that exists already: PONIX_NATS_URL names it"}),
		c.validatePostgresBin(),
		c.engines.validate(), c.hosting.validate(), c.door.validate(), c.replicate())
}

// validatePostgresBin wants the two programs that are started.
func (c *upCommand) validatePostgresBin() error {
	if c.PostgresBin == "" || c.Postgres.Host != "" {
		return nil
	}
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(c.PostgresBin, program)); err != nil {
			return &config.Error{Variable: "PONIX_POSTGRES_BIN", Cause: err}
		}
	}
	return nil
}

// validate names the variable that has a value which cannot work.
func (d door) validate() error {
	_, _, withPort := net.SplitHostPort(d.Host)
	return firstBad(
		check{withPort != nil && !strings.Contains(d.Host, "/"), "PONIX_GRPC_HOST", fmt.Sprintf("must be a name or an address alone, beside PONIX_GRPC_PORT: %q", d.Host)},
		check{d.GRPCMaxMessage >= 1<<10, "PONIX_GRPC_MAX_MESSAGE", "must be at least 1024 (1 KiB)"},
	)
}

// canListen tells whether addr is an address to listen on; empty is none.
func canListen(variable, addr string) check {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	return check{addr == "" || err == nil, variable, fmt.Sprintf("must be host:port: %q", addr)}
}

// validateStreams names the variable of a limit that no stream can have, and holds the names
// that are chosen for streams to what a subject can start with, and to being different.
func validateStreams(s streams.Config) error {
	if err := firstBad(
		check{s.Domain == "" || wire.IsID(s.Domain), "PONIX_NATS_JETSTREAM_DOMAIN", fmt.Sprintf("must be 1 to 64 letters, digits, '_' or '-': %q", s.Domain)},
		check{s.MaxBytes >= 1<<20, "PONIX_NATS_STREAM_MAX_BYTES", "must be at least 1048576 (1 MiB)"},
		check{s.LetterBytes >= 1<<20, "PONIX_NATS_DEAD_LETTERS_MAX_BYTES", "must be at least 1048576 (1 MiB)"},
		check{s.AckPending >= 0, "PONIX_NATS_MAX_ACK_PENDING", "must not be negative"},
		check{s.ReplayWindow >= 0, "PONIX_NATS_REPLAY_WINDOW", "must not be negative"},
		check{s.AckWait > 0, "PONIX_NATS_ACK_WAIT", "must be above 0"},
	); err != nil {
		return err
	}
	taken := map[string]bool{s.DeadLetters().Name: true, s.EndDeviceEvents().Name: true, s.OrganizationEvents().Name: true}
	for _, c := range []struct{ variable, name string }{
		{"PONIX_NATS_RAW_STREAM", s.Raw}, {"PONIX_PROCESSED_ENVELOPES_STREAM", s.Processed}, {"PONIX_NATS_GATEWAY_STREAM", s.Gateways},
	} {
		if err := firstBad(
			check{wire.IsID(c.name), c.variable, fmt.Sprintf("must be 1 to 64 letters, digits, '_' or '-': %q", c.name)},
			check{c.name != "ponix" && !strings.HasPrefix(c.name, "_INBOX"), c.variable, fmt.Sprintf("is what the subjects of requests or replies start with, which the stream would answer itself: %q", c.name)},
			check{!taken[c.name], c.variable, fmt.Sprintf("is the name of another stream: %q", c.name)},
		); err != nil {
			return err
		}
		taken[c.name] = true
	}
	return nil
}
