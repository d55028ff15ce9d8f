package main

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// herd is many devices that change at once, in one transaction each time, as a statement of an
// operator's changes them: whoever reads the log has much to publish in one go.
type herd struct {
	postgres     string // the URL of the server itself
	organization string
	name         string // of all of them, as it was acknowledged last
}

// herdSize is how many devices it has.
const herdSize = 500

// herdSQL makes them, or gives them another name.
const herdSQL = `
INSERT INTO end_devices (id, organization_id, name) SELECT 'herd' || n, $1, $2 FROM generate_series(1, $3) AS n
ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = now()`

// run changes them each second, until ctx is done.
func (h *herd) run(ctx context.Context) {
	for i := 1; wait(ctx, time.Second) == nil; i++ {
		h.rename(context.WithoutCancel(ctx), "herd "+strconv.Itoa(i))
	}
}

// rename gives them a name. Without an answer they may have either; so it is done until there is
// one.
func (h *herd) rename(ctx context.Context, name string) {
	for h.try(ctx, name) != nil {
		time.Sleep(100 * time.Millisecond)
	}
	h.name = name
}

func (h *herd) try(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	db, err := pgx.Connect(ctx, h.postgres)
	if err != nil {
		return err
	}
	defer db.Close(ctx) //nolint:errcheck // the statement's error counts
	_, err = db.Exec(ctx, herdSQL, h.organization, name, herdSize)
	return err
}

// devices are their names, by id.
func (h *herd) devices() map[string]string {
	all := map[string]string{}
	for n := 1; h.name != "" && n <= herdSize; n++ {
		all["herd"+strconv.Itoa(n)] = h.name
	}
	return all
}
