package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"

	"ponix/migrations"
	"ponix/runtime/config"
)

// camera is a device whose payload becomes a text.
const camera = "dc27sm1ksdua0kascam0"

// tables makes the tables of PostgreSQL, with the organization and the devices that
// directory answers for, and a camera.
func (w *World) tables(ctx context.Context) error {
	m, err := migrations.Postgres(w.PostgresURL(""))
	if err != nil {
		return err
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, w.PostgresURL(""))
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "INSERT INTO organizations (id, name) VALUES ($1, 'ponix bench')", organization); err != nil {
		return err
	}
	device := func(id, name, expression string) error {
		_, err := pool.Exec(ctx, "INSERT INTO end_devices (id, organization_id, name, payload_conversion) VALUES ($1, $2, $3, $4)", id, organization, name, expression)
		return err
	}
	for i := range devices {
		if err := device(deviceID(i), fmt.Sprintf("thermometer %d", i), decodeAll); err != nil {
			return err
		}
	}
	return device(camera, "camera", `{"picture": base64.encode(input)}`)
}

// clickHouse makes the tables of ClickHouse, and returns a way to them.
func (w *World) clickHouse(ctx context.Context) (driver.Conn, error) {
	at := config.Default[config.ClickHouse]()
	at.NativeURL = w.ClickHouseAddr
	o, err := at.Options()
	if err != nil {
		return nil, err
	}
	m, err := migrations.ClickHouse(o, migrations.Storage{})
	if err != nil {
		return nil, err
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return nil, err
	}
	db, err := at.Open()
	if err == nil {
		w.closers = append(w.closers, db.Close)
	}
	return db, err
}
