package cdc

import (
	"errors"
	"testing"
	"time"

	"ponix/runtime/config"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	good := config.Default[Config]()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for variable, spoil := range map[string]func(*Config){
		"PONIX_CDC_PUBLICATION_NAME":   func(c *Config) { c.Publication = `a"b` },
		"PONIX_CDC_SLOT_NAME":          func(c *Config) { c.Slot = "A" },
		"PONIX_CDC_RETRY_DELAY_MS":     func(c *Config) { c.RetryDelay = 0 },
		"PONIX_CDC_MAX_RETRY_ATTEMPTS": func(c *Config) { c.MaxAttempts = -1 },
	} {
		bad := good
		spoil(&bad)
		var err *config.Error
		if !errors.As(bad.Check(), &err) || err.Variable != variable {
			t.Errorf("%s: got %v", variable, err)
		}
	}
	if first, last := good.delay(0), good.delay(1000); first != 250*time.Millisecond || last != 10*time.Second {
		t.Errorf("delays from %v to %v", first, last)
	}
}
