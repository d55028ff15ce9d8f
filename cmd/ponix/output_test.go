package main

import (
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// TestCells shows values of ClickHouse as a person reads them, and as JSON holds them.
func TestCells(t *testing.T) {
	t.Parallel()
	one, at := uint8(1), time.Date(2026, 11, 27, 1, 2, 3, 4000, time.UTC)
	for _, tt := range []struct {
		value        any
		cell, inJSON string
	}{
		{nil, "NULL", "null"},
		{(*uint8)(nil), "NULL", "null"},
		{clickhouse.NewDynamicWithType(27.2, "Float64"), "27.2", "27.2"}, // a path of a JSON column
		{[]*uint8{nil, &one}, "[NULL 1]", "[null,1]"},
		{[]uint8{1, 2}, "[1 2]", "[1,2]"},
		{*big.NewInt(5), "5", "5"},
		{math.NaN(), "NaN", "null"},
		{&at, "2026-11-27 01:02:03.000004", `"2026-11-27T01:02:03.000004Z"`},
		{at, "2026-11-27 01:02:03.000004", `"2026-11-27T01:02:03.000004Z"`},
	} {
		if got := cell(tt.value); got != tt.cell {
			t.Errorf("%T %v is shown as %s, want %s", tt.value, tt.value, got, tt.cell)
		}
		if got, err := json.Marshal(plain(tt.value)); err != nil || string(got) != tt.inJSON {
			t.Errorf("%T %v in JSON is %s, want %s, %v", tt.value, tt.value, got, tt.inJSON, err)
		}
	}
	var b strings.Builder
	(&output{Writer: &b}).table([]string{"NAME"}, [][]string{{"a\nb\x1b]0;owned\x07"}})
	if want := "NAME\n" + `a\nb\x1b]0;owned\a` + "\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
