package runtimetest

import (
	"bytes"
	"sync"
)

// Text collects what several goroutines, or a process, write. Its zero value is empty.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *Text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
