package store

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ponix/runtime"
)

// TestSilence holds whose error it is that ClickHouse says nothing: the caller's where its own
// time was too short, and ClickHouse's otherwise, which the log tells of.
func TestSilence(t *testing.T) {
	t.Parallel()
	db, err := clickhouse.Open(&clickhouse.Options{DialTimeout: 50 * time.Millisecond, DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the test is over
	f, rows := store{db: db}, []row{{text: `{}`}}
	passed, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	batch := func(ctx context.Context) error {
		var each runtime.BatchError
		if !errors.As(f.batch(ctx, rows), &each) {
			return nil
		}
		return each[0]
	}
	for name, tt := range map[string]struct {
		err  error
		want codes.Code
	}{
		"a call":               {f.insert(t.Context(), rows), codes.Unavailable},
		"a call without time":  {f.insert(passed, rows), codes.DeadlineExceeded},
		"a batch":              {batch(t.Context()), codes.Unavailable},
		"a batch without time": {batch(passed), codes.Unavailable},
	} {
		var s interface{ GRPCStatus() *status.Status }
		got := codes.Unknown
		if errors.As(tt.err, &s) {
			got = s.GRPCStatus().Code()
		} else if errors.Is(tt.err, context.DeadlineExceeded) {
			got = codes.DeadlineExceeded
		}
		if got != tt.want {
			t.Errorf("%s: %v is %v, want %v", name, tt.err, got, tt.want)
		}
	}
}

// TestMisconfigured holds that what no restart of ClickHouse mends is told of at once.
func TestMisconfigured(t *testing.T) {
	t.Parallel()
	for code, change := range map[int32]func(*clickhouse.Options){
		516: func(o *clickhouse.Options) { o.Auth.Password = "wrong" },
		81:  func(o *clickhouse.Options) { o.Auth.Database = "nowhere" },
		60:  func(o *clickhouse.Options) { o.Auth.Database = "default" },
	} {
		f := store{db: migrated(t, change)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		err := f.insertPatiently(ctx, []row{{text: `{}`}})
		var e *clickhouse.Exception
		if took := time.Since(began); !errors.As(err, &e) || e.Code != code || took > 10*time.Second {
			t.Errorf("got %v after %v, want code %d", err, took, code)
		}
	}
}
