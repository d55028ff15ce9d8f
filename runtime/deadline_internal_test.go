package runtime

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestDeadlineContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
	defer cancel()
	for name, c := range map[string]struct {
		in   time.Duration
		then func(*deadlineContext)
		want error
	}{
		"late":             {time.Millisecond, func(*deadlineContext) {}, context.DeadlineExceeded},
		"ended":            {time.Hour, (*deadlineContext).end, context.Canceled},
		"ended after Done": {time.Hour, func(d *deadlineContext) { d.Done(); d.end() }, context.Canceled},
	} {
		at := time.Now().Add(c.in)
		d := &deadlineContext{Context: parent, at: at}
		child, stop := context.WithCancel(context.WithValue(d, key{}, 2))
		if got, ok := child.Deadline(); !ok || !got.Equal(at) || d.Value(key{}) != 1 {
			t.Errorf("%s: %v %v", name, got, ok)
		}
		c.then(d)
		<-child.Done()
		if !errors.Is(child.Err(), c.want) || !errors.Is(d.Err(), c.want) {
			t.Errorf("%s: %v, %v", name, child.Err(), d.Err())
		}
		stop()
	}
	d := &deadlineContext{Context: parent, at: time.Now().Add(time.Hour)}
	cancel()
	if <-d.Done(); !errors.Is(d.Err(), context.Canceled) {
		t.Error("the parent's end is not its own")
	}
}
