package cdc

import (
	"errors"
	"regexp"
	"time"

	"ponix/runtime/config"
)

// Config is what an operator may change. Its zero value is not usable; the
// defaults stand in the tags.
type Config struct {
	Publication  string `name:"cdc-publication-name" default:"ponix_cdc_publication" help:"Publication in PostgreSQL that lists the tables; made and kept in step."`
	Slot         string `name:"cdc-slot-name" default:"ponix_cdc_slot" help:"Replication slot in PostgreSQL; made where there is none."`
	BatchSize    int    `name:"cdc-batch-size" default:"100" hidden:"" help:"Has no meaning any more: each event is published at once."`
	BatchTimeout int    `name:"cdc-batch-timeout-ms" default:"100" hidden:"" help:"Has no meaning any more: each event is published at once."`
	RetryDelay   int    `name:"cdc-retry-delay-ms" default:"10000" help:"Milliseconds between attempts at most, after a failure; the first come sooner."`
	MaxAttempts  int    `name:"cdc-max-retry-attempts" default:"5" help:"Attempts that may fail, for want of PostgreSQL or NATS, before that is an error in the log; it is tried again for ever."`
}

// names are those that need no quotes: of slots PostgreSQL takes no others.
var names = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Check names the variable that has a value which cannot work.
func (c Config) Check() error {
	for _, s := range []struct {
		ok             bool
		variable, must string
	}{
		{names.MatchString(c.Publication), "PONIX_CDC_PUBLICATION_NAME", "must be 1 to 63 of a-z, 0-9 and '_'"},
		{names.MatchString(c.Slot), "PONIX_CDC_SLOT_NAME", "must be 1 to 63 of a-z, 0-9 and '_'"},
		{c.RetryDelay >= 1, "PONIX_CDC_RETRY_DELAY_MS", "must be at least 1"},
		{c.MaxAttempts >= 0, "PONIX_CDC_MAX_RETRY_ATTEMPTS", "must not be negative"},
	} {
		if !s.ok {
			return &config.Error{Variable: s.variable, Cause: errors.New(s.must)}
		}
	}
	return nil
}

// delay is how long to wait after so many failures in a row: it doubles up to
// the limit.
func (c Config) delay(failures int) time.Duration {
	return min(250*time.Millisecond<<min(failures, 12), time.Duration(c.RetryDelay)*time.Millisecond)
}
