package main

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"ponix/runtime/config"
)

type sqlCommand struct {
	config.ClickHouse
	format
	Query string `arg:"" help:"One statement in ClickHouse's SQL."`
}

func (c *sqlCommand) Run(e *env) error {
	if strings.TrimSpace(c.Query) == "" {
		return &usageError{errors.New("the statement is empty")}
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	db, err := clickhouse.Open(o)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // whatever was to be said was said by the statement
	// Before the statement can have done something.
	if err := ping(e.ctx, db); err != nil {
		return c.failure(e.ctx, err)
	}
	if changes(c.Query) {
		if err := db.Exec(e.ctx, c.Query); err != nil {
			return c.failure(e.ctx, err)
		}
		return nil
	}
	rows, err := db.Query(e.ctx, c.Query)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("ClickHouse at %s sent no rows: the statement has none, or the connection broke; see what it did before you run it again (%w)", c.Redacted(), err)
	}
	if err != nil {
		return c.failure(e.ctx, err)
	}
	defer rows.Close() //nolint:errcheck // Err says more
	types := rows.ColumnTypes()
	var cells [][]string
	for rows.Next() {
		values, err := scan(rows, types)
		if err != nil {
			return err
		}
		if c.Format == "json" {
			if err := e.out.object(rows.Columns(), values); err != nil {
				return err
			}
			continue
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = cell(v)
		}
		cells = append(cells, line)
	}
	if err := rows.Err(); err != nil {
		return c.failure(e.ctx, err)
	}
	if c.Format == "table" && len(types) > 0 {
		e.out.table(rows.Columns(), cells)
	}
	return nil
}

// options are those of a statement, which takes as long as it takes: to the driver ReadTimeout
// is the time of all its answer. Whoever has waited enough interrupts it.
func (c *sqlCommand) options() (*clickhouse.Options, error) {
	o, err := c.Options()
	if err == nil {
		o.ReadTimeout = 365 * 24 * time.Hour
	}
	return o, err
}

// ping tells within a minute whether ClickHouse answers at all.
func ping(ctx context.Context, db driver.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return db.Ping(ctx)
}

// opening is what comes before a statement's first word, and that word.
var opening = regexp.MustCompile(`^(?:\s|--[^\n]*|(?s:/\*.*?\*/))*(\w*)`)

// changes tells whether a statement has no rows to show. The driver has to be told
// before: Query returns io.EOF for an answer without rows, and for a connection that
// broke within one.
func changes(query string) bool {
	switch strings.ToUpper(opening.FindStringSubmatch(query)[1]) {
	case "ALTER", "ATTACH", "CREATE", "DELETE", "DETACH", "DROP", "EXCHANGE", "GRANT", "INSERT", "OPTIMIZE",
		"RENAME", "REPLACE", "REVOKE", "SET", "SYSTEM", "TRUNCATE", "UNDROP", "UPDATE", "USE":
		return true
	}
	return false
}

// scan reads a row into values of the columns' own Go types; JSON as its text.
func scan(rows driver.Rows, types []driver.ColumnType) (values []any, err error) {
	defer func() {
		if r := recover(); r != nil { // of the driver, as for a map of large integers
			err = fmt.Errorf("the driver for ClickHouse cannot read a value of this type, select it as a text with toString: %v", r)
		}
	}()
	into := make([]any, len(types))
	for i, t := range types {
		into[i] = reflect.New(goType(t)).Interface()
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	for i, p := range into {
		into[i] = reflect.ValueOf(p).Elem().Interface()
	}
	return into, nil
}

// goType is what the values of a column are read as. JSON comes as text, for which the driver
// does not account in ScanType: see config.ClickHouse.Options.
func goType(t driver.ColumnType) reflect.Type {
	switch name := t.DatabaseTypeName(); {
	case strings.HasPrefix(name, "JSON"):
		return reflect.TypeFor[json.RawMessage]()
	case strings.HasPrefix(name, "Nullable(JSON"):
		return reflect.TypeFor[*json.RawMessage]()
	case strings.HasPrefix(name, "Array(JSON"): // as groupArray(data)
		return reflect.TypeFor[[]json.RawMessage]()
	}
	return t.ScanType()
}

// cell is a value as text.
func cell(v any) string {
	switch x := v.(type) {
	case nil:
		return "NULL"
	case json.RawMessage:
		return string(x)
	case *time.Time: // else a Stringer, below
		if x != nil {
			return cell(*x)
		}
	case time.Time:
		return x.UTC().Format("2006-01-02 15:04:05.999999999")
	case clickhouse.Dynamic: // a path of a JSON column
		return cell(x.Any())
	case big.Int:
		return x.String()
	case fmt.Stringer:
		if r := reflect.ValueOf(v); r.Kind() != reflect.Pointer || !r.IsNil() {
			return x.String()
		}
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer:
		if r.IsNil() {
			return "NULL"
		}
		return cell(r.Elem().Interface())
	case reflect.Slice:
		items := make([]string, r.Len())
		for i := range items {
			items[i] = cell(r.Index(i).Interface())
		}
		return "[" + strings.Join(items, " ") + "]"
	case reflect.Map: // fmt would show where in memory a value is that may be NULL
		items := make([]string, 0, r.Len())
		for k, x := range r.Seq2() {
			items = append(items, cell(k.Interface())+":"+cell(x.Interface()))
		}
		slices.Sort(items)
		return "map[" + strings.Join(items, " ") + "]"
	}
	return fmt.Sprint(v)
}

// plain is a value as JSON holds it: not a number is null, and bytes are numbers.
func plain(v any) any {
	switch x := v.(type) {
	case clickhouse.Dynamic:
		return plain(x.Any())
	case big.Int:
		return &x
	}
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
		return nil
	case r.Kind() == reflect.Float32 || r.Kind() == reflect.Float64:
		if f := r.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil
		}
	case r.Kind() == reflect.Pointer && !r.IsNil() && r.Elem().Kind() != reflect.Struct:
		return plain(r.Elem().Interface())
	case r.Kind() == reflect.Slice && r.Type().Name() == "":
		items := make([]any, r.Len())
		for i := range items {
			items[i] = plain(r.Index(i).Interface())
		}
		return items
	case r.Kind() == reflect.Map: // of which JSON has only those with texts as keys
		items := map[string]any{}
		for k, x := range r.Seq2() {
			items[name(k.Interface())] = plain(x.Interface())
		}
		return items
	}
	return v
}

// name is a key of a map as JSON holds it.
func name(key any) string {
	if m, ok := key.(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	return cell(key)
}

// object writes a row as one JSON object, its keys in the order of the columns.
func (o *output) object(names []string, values []any) error {
	var b strings.Builder
	for i, v := range values {
		value, err := json.Marshal(plain(v))
		if err != nil {
			return err
		}
		name, err := json.Marshal(names[i])
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, ",%s:%s", name, value)
	}
	_, err := fmt.Fprintf(o, "{%s}\n", strings.TrimPrefix(b.String(), ","))
	return err
}

// authenticationFailed is ClickHouse's code for a user or a password that it does not take.
const authenticationFailed = 516

// failure shows what ClickHouse says, or that it is not there.
func (c *sqlCommand) failure(ctx context.Context, err error) error {
	var said *clickhouse.Exception
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("ClickHouse at %s: %w: `ponix up` may not be running, or PONIX_CLICKHOUSE_NATIVE_URL may name another place", c.Redacted(), err)
	case !errors.As(err, &said):
		return fmt.Errorf("ClickHouse at %s: %w", c.Redacted(), err)
	case said.Code == authenticationFailed:
		return fmt.Errorf("ClickHouse at %s does not take PONIX_CLICKHOUSE_USERNAME with PONIX_CLICKHOUSE_PASSWORD: %s (code %d)", c.Redacted(), said.Message, said.Code)
	}
	return fmt.Errorf("%s (code %d)", said.Message, said.Code)
}
