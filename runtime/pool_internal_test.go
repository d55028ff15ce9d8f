package runtime

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestPool runs every task, never more at a time than the limit, and none waits for
// those that are slow as long as there is room beside them.
func TestPool(t *testing.T) {
	t.Parallel()
	const limit, tasks = 8, 10_000
	type task struct{ began, ended, until *sync.WaitGroup }
	var running, ran atomic.Int64
	p := newPool(limit, func(k task) {
		if n := running.Add(1); n > limit {
			t.Errorf("%d tasks at a time", n)
		}
		k.began.Done()
		k.until.Wait()
		running.Add(-1)
		ran.Add(1)
		k.ended.Done()
	})
	var held, slow, fast, release, ended, never sync.WaitGroup
	held.Add(limit - 1)
	ended.Add(limit)
	release.Add(1)
	for range limit - 1 {
		p.do(task{&held, &ended, &release})
	}
	held.Wait()
	fast.Add(2 * tasks)
	for range tasks {
		p.do(task{&fast, &fast, &never})
	}
	fast.Wait() // beside the slow ones
	slow.Add(1)
	p.do(task{&slow, &ended, &release})
	slow.Wait()
	if p.try(task{&fast, &fast, &never}) {
		t.Error("there is room for more tasks than the limit allows")
	}
	release.Done()
	ended.Wait()
	p.close()
	if n := ran.Load(); n != tasks+limit {
		t.Errorf("%d tasks ran", n)
	}
}
