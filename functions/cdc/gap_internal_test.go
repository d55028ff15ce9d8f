package cdc

import (
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"ponix/nats/streams"
	"ponix/runtime/config"
)

// TestGapOfASlot tells, where everything is as it was, which of it makes a fresh snapshot
// necessary: a position at which PostgreSQL, the slot and the state agree does not.
func TestGapOfASlot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(*slot, *state)
		end   pglogrepl.LSN
		want  string
	}{
		"all agree":                           {func(*slot, *state) {}, 100, ""},
		"the slot is behind":                  {func(s *slot, _ *state) { s.confirmed = 99 }, 100, ""},
		"the slot is ahead":                   {func(s *slot, _ *state) { s.confirmed = 101 }, 101, "only what came before"},
		"the log is shorter":                  {func(*slot, *state) {}, 99, "put back to an earlier state"},
		"another timeline":                    {func(_ *slot, st *state) { st.Timeline = "2" }, 100, ""},
		"behind on another timeline":          {func(s *slot, st *state) { s.confirmed, st.Timeline = 99, "2" }, 100, "another timeline"},
		"behind on one that is left later":    {func(s *slot, st *state) { s.confirmed, st.Timeline = 99, "0" }, 100, ""},
		"behind on one that was left earlier": {func(s *slot, st *state) { s.confirmed, st.Timeline, st.Confirmed = 99, "0", 101 }, 101, "another timeline"},
		"behind, and the timeline is unknown": {func(s *slot, st *state) { s.confirmed, st.Timeline = 99, "" }, 100, ""},
		"no generation":                       {func(_ *slot, st *state) { st.Generation = "" }, 100, "nothing is known"},
		"another cluster":                     {func(_ *slot, st *state) { st.System = "other" }, 100, "another PostgreSQL cluster"},
		"not finished":                        {func(_ *slot, st *state) { st.Complete = false }, 100, "not finished"},
		"invalidated":                         {func(s *slot, _ *state) { s.broken = "wal_removed" }, 100, "wal_removed"},
		"gone":                                {func(s *slot, _ *state) { s.exists = false }, 100, "it is gone"},
	} {
		s := slot{exists: true, ours: true, confirmed: 100}
		st := &state{Generation: "g", System: "s", Timeline: "1", Complete: true, Confirmed: 100, revision: 1}
		tt.spoil(&s, st)
		if got := s.gap(st, "s", timelines{"1", map[string]pglogrepl.LSN{"0": 100}}, tt.end); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// TestStreamsAreAhead tells which last event of a stream PostgreSQL may not have: one where its
// log ends, or after that, and on another timeline one from the confirmed position on that is not
// of what the two share.
func TestStreamsAreAhead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lsn   uint64
		epoch string
		want  string
	}{
		"before the end":              {199, "g.1", ""},
		"at the end":                  {200, "g.1", "put back to an earlier state"},
		"of another generation":       {200, "h.1", ""},
		"of a snapshot":               {0, "g.2", ""},
		"before, on another timeline": {99, "g.2", ""},
		"at, on another timeline":     {100, "g.2", "another timeline"},
		"at, on one that is shared":   {149, "g.0", ""},
		"where that was left":         {150, "g.0", "another timeline"},
	} {
		o := &owner{capture: &capture{entities: entities(config.Default[streams.Config]())}, state: &state{Generation: "g", Confirmed: 100}, log: timelines{"1", map[string]pglogrepl.LSN{"0": 150}}, end: 200, outlets: map[*entity]*outlet{}}
		for _, e := range o.entities {
			o.outlets[e] = &outlet{}
		}
		o.outlets[o.entities[1]].found = position{tt.lsn, 1}.id(tt.epoch)
		if got := o.ahead(); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
