// Command fetch gets the engines that `ponix up` starts on this machine. `just up` runs it beside
// the first build, which takes longer: it needs nothing but Go's standard library. `ponix up`
// fetches whatever is missing, so a failure here costs time only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ponix/runtime/local/engines"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report := func(message string) { fmt.Println("…", message) }
	if _, err := engines.Fetch(ctx, "", report, engines.PostgreSQL, engines.ClickHouse); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "ponix:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}
