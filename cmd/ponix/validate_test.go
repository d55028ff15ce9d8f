package main

import (
	"net"
	"ponix/runtime/runtimetest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestBadValues holds that a value which cannot work ends a command at once, with exit
// code 2 and the name of its variable or flag.
func TestBadValues(t *testing.T) {
	t.Parallel()
	for args, name := range map[string]string{
		"up --grpc-port=260000":                       "--grpc-port",
		"up --data-dir=":                              "PONIX_DATA_DIR",
		"streams --nats-jetstream-domain=a.b":         "PONIX_NATS_JETSTREAM_DOMAIN",
		"up --nats-jetstream-domain=hub":              "PONIX_NATS_JETSTREAM_DOMAIN",
		"streams --nats-stream-max-bytes=1":           "PONIX_NATS_STREAM_MAX_BYTES",
		"streams --nats-dead-letters-max-bytes=1":     "PONIX_NATS_DEAD_LETTERS_MAX_BYTES",
		"streams --nats-replay-window=-1h":            "PONIX_NATS_REPLAY_WINDOW",
		"streams --nats-max-ack-pending=-1":           "PONIX_NATS_MAX_ACK_PENDING",
		"streams --nats-ack-wait=-1s":                 "PONIX_NATS_ACK_WAIT",
		"streams --nats-gateway-stream=dead_letters":  "PONIX_NATS_GATEWAY_STREAM",
		"streams --nats-raw-stream=ponix":             "PONIX_NATS_RAW_STREAM",
		"streams --nats-gateway-stream=_INBOX_ada":    "PONIX_NATS_GATEWAY_STREAM",
		"serve --nats-ack-wait=0s":                    "PONIX_NATS_ACK_WAIT",
		"up --postgres-bin=/nowhere":                  "PONIX_POSTGRES_BIN",
		"up --grpc-max-message=1":                     "PONIX_GRPC_MAX_MESSAGE",
		"up --nats-port=-1":                           "--nats-port",
		"up --postgres-connections=0":                 "PONIX_POSTGRES_CONNECTIONS",
		"up --clickhouse-connections=0":               "PONIX_CLICKHOUSE_CONNECTIONS",
		"up --clickhouse-ttl=-1h":                     "PONIX_CLICKHOUSE_TTL",
		"up --clickhouse-ttl=1ms":                     "PONIX_CLICKHOUSE_TTL",
		"up --conversion-max-depth=-1":                "PONIX_CONVERSION_MAX_DEPTH",
		"serve --concurrency=0":                       "PONIX_CONCURRENCY",
		"serve --device-cache-ttl=-5s":                "PONIX_DEVICE_CACHE_TTL",
		"serve --nats-replay-window=-1h":              "PONIX_NATS_REPLAY_WINDOW",
		"serve --nats-batch-wait-secs=40":             "PONIX_NATS_BATCH_WAIT_SECS",
		"serve --nats-raw-stream=a.b":                 "PONIX_NATS_RAW_STREAM",
		"serve --nats-raw-stream=":                    "PONIX_NATS_RAW_STREAM",
		"serve --nats-raw-stream=processed_envelopes": "PONIX_PROCESSED_ENVELOPES_STREAM",
		"serve --nats-gateway-stream=dead_letters":    "PONIX_NATS_GATEWAY_STREAM",
		"serve --nats-raw-stream=end_devices":         "PONIX_NATS_RAW_STREAM",
		"migrate status --postgres-sslmode=verify-full --postgres-sslrootcert=/none": "PONIX_POSTGRES_SSLROOTCERT",
		"migrate up --postgres-sslcert=/none --postgres-sslkey=/none":                "PONIX_POSTGRES_SSLCERT",
		"migrate up --postgres-port=1 --clickhouse-ttl=1ms":                          "PONIX_CLICKHOUSE_TTL",
		"serve --concurrency=999999999":                                              "PONIX_CONCURRENCY",
		"serve --clickhouse-writers=999999999":                                       "PONIX_CLICKHOUSE_WRITERS",
		"up --clickhouse-connections=999999999":                                      "PONIX_CLICKHOUSE_CONNECTIONS",
		"bridge --grpc-rate=NaN":                                                     "PONIX_GRPC_RATE",
		"bridge --grpc-host=127.0.0.1:50051":                                         "PONIX_GRPC_HOST",
		"up --grpc-host=http://localhost":                                            "PONIX_GRPC_HOST",
		"bridge --metrics-addr=nope":                                                 "PONIX_METRICS_ADDR",
		"serve --metrics-addr=nope":                                                  "PONIX_METRICS_ADDR",
		"serve --metrics-addr=localhost:nope":                                        "PONIX_METRICS_ADDR",
		"serve --grace=0s":                                                           "PONIX_GRACE",
		"serve --mqtt-ca-file=/nowhere":                                              "PONIX_MQTT_CA_FILE: open /nowhere",
		"up --mqtt-ca-file=/dev/null":                                                "PONIX_MQTT_CA_FILE: /dev/null",
		"up --grace=-1s":                                                             "PONIX_GRACE",
		"bridge --grpc-max-message=-1":                                               "PONIX_GRPC_MAX_MESSAGE",
		"bridge --grpc-max-message=1":                                                "PONIX_GRPC_MAX_MESSAGE",
		"sql ":                                                                       "the statement is empty",
		"ps --wait=0s":                                                               "--wait",
		"ps --wait=-1s":                                                              "--wait",
		"tail --device=a.b":                                                          "--device",
		"tail --organization=a.b":                                                    "--organization",
		"gateway status --organization=a.b":                                          "--organization",
		"gateway status --timeout=0s":                                                "--timeout",
		"gateway status --timeout=-1s":                                               "--timeout",
		"token --role=member --subject=s":                                            "all but admins belong to an organization",
		"token --role=member --subject=s --organization=a.b":                         "the organization must be an id, 1 to 64 letters, digits, '_' or '-'",
		"token --ttl=-1s --role=admin --subject=s":                                   "--ttl",
		"bridge --auth-jwks=/nowhere":                                                "ponix: PONIX_AUTH_JWKS: ",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			_, err := call(t, []string{"PONIX_AUTH_SECRET=0123456789abcdef0123456789abcdef"}, strings.Split(args, " ")...)
			if err == nil || !strings.Contains(err.Error(), "exit code 2") || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, want exit code 2 and %s", err, name)
			}
		})
	}
}

// TestShortSecret holds that the variable of a secret that is too short is named, whoever uses it.
func TestShortSecret(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"token --role=admin --subject=s", "bridge --grpc-port=0", "up --data-dir=" + t.TempDir()} {
		_, err := call(t, []string{"PONIX_AUTH_SECRET=short"}, strings.Fields(args)...)
		if err == nil || !strings.HasPrefix(err.Error(), "exit code 2: ponix: PONIX_AUTH_SECRET: ") {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

// TestCannotListen holds that an address which cannot be listened on is told of with the
// flag that chooses another.
func TestCannotListen(t *testing.T) {
	t.Parallel()
	nats := "PONIX_NATS_URL=" + runtimetest.NATSServer(t, func(*server.Options) {}).ClientURL()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) //nolint:errcheck // it is only to be in the way
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	const elsewhere = "192.0.2.1" // of RFC 5737: no machine's
	for args, flag := range map[string]string{
		"bridge --metrics-addr=" + elsewhere + ":9000":     "address with --metrics-addr",
		"bridge --metrics-addr=" + taken.Addr().String():   "port with --metrics-addr",
		"bridge --grpc-port=0 --grpc-host=" + elsewhere:    "address with --grpc-host",
		"bridge --grpc-host=127.0.0.1 --grpc-port=" + port: "port with --grpc-port",
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			_, err := call(t, []string{nats, "PONIX_AUTH_SECRET=0123456789abcdef0123456789abcdef"}, strings.Split(args, " ")...)
			if err == nil || !strings.Contains(err.Error(), "exit code 1: ") || !strings.HasSuffix(err.Error(), ": choose another "+flag) {
				t.Errorf("got %v, want %s", err, flag)
			}
		})
	}
}

// TestEmptyPaths holds that a path which is set to nothing is none, and not the directory
// that a command is started in; but for what would leave the door open.
func TestEmptyPaths(t *testing.T) {
	t.Parallel()
	var none []string
	for _, v := range []string{
		"NATS_CREDS", "NATS_PASSWORD_FILE", "NATS_CA", "NATS_CERT", "NATS_KEY", "POSTGRES_PASSWORD_FILE", "POSTGRES_SSLROOTCERT", "POSTGRES_SSLCERT", "POSTGRES_SSLKEY",
		"CLICKHOUSE_PASSWORD_FILE", "CLICKHOUSE_CA", "CLICKHOUSE_CERT", "CLICKHOUSE_KEY", "MQTT_CA_FILE", "GRPC_TLS_CERT", "GRPC_TLS_KEY", "GRPC_TLS_CLIENT_CA",
	} {
		none = append(none, "PONIX_"+v+"=")
	}
	none = append(none, "PONIX_NATS_USERNAME=u", "PONIX_NATS_URL="+runtimetest.NATSServer(t, func(*server.Options) {}).ClientURL())
	start(t, none, "serve").waitFor(t, 20*time.Second, "msg=serving")
	start(t, none, "bridge", "--grpc-port=0").waitFor(t, 20*time.Second, `msg="serving gRPC"`)
	for _, open := range []string{"PONIX_AUTH_JWKS", "PONIX_AUTH_SECRET", "PONIX_AUTH_SECRET_FILE"} {
		_, err := call(t, append(none, open+"="), "bridge", "--grpc-port=0")
		if err == nil || !strings.HasSuffix(err.Error(), "exit code 2: ponix: "+open+": is empty") {
			t.Errorf("%s: got %v", open, err)
		}
	}
}
