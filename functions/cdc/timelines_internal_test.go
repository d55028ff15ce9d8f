package cdc

import (
	"maps"
	"testing"

	"github.com/jackc/pglogrepl"
)

func TestParseHistory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]pglogrepl.LSN{
		"": {},
		"1\t0/1BA7598\tno recovery target specified\n":                                               {"1": 0x1BA7598},
		"# restored\n\n1\tA/FF\tbefore 2026-11-30 13:08:53.162+00\n2\tB/0\tat restore point \"x\"\n": {"1": 0xA_000000FF, "2": 0xB_00000000},
		"1\n2\tnone\twhy\n3\t0/5\n":                                                                  {"3": 5},
	} {
		if got := parseHistory(text); !maps.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// TestWithoutHistory asks for that of a timeline which PostgreSQL does not have.
func TestWithoutHistory(t *testing.T) {
	t.Parallel()
	o := ownerOf(t)
	got, err := o.timelines(t.Context(), "7")
	if err != nil || got.until("7") != ^pglogrepl.LSN(0) || got.until("6") != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
