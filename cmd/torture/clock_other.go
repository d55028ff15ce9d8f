//go:build !(linux && amd64)

package main

import (
	"errors"
	"fmt"
	"time"
)

func setClock(int, time.Duration) error {
	return fmt.Errorf("only known on linux/amd64: %w", errors.ErrUnsupported)
}
