package runtime

import "sync"

// pool runs tasks on a bounded number of goroutines. They are started on demand
// and stay, since a warm goroutine is cheaper than a new one.
type pool[T any] struct {
	run   func(T)
	tasks chan T
	slots chan struct{} // one for each goroutine that may still be started
	done  sync.WaitGroup
}

func newPool[T any](limit int, run func(T)) *pool[T] {
	p := &pool[T]{run: run, tasks: make(chan T), slots: make(chan struct{}, limit)}
	for range limit {
		p.slots <- struct{}{}
	}
	return p
}

// try hands t to a goroutine; false where all are busy.
func (p *pool[T]) try(t T) bool {
	select {
	case p.tasks <- t: // one is idle
		return true
	default:
	}
	select {
	case <-p.slots:
		p.spawn(t)
		return true
	case p.tasks <- t:
		return true
	default:
		return false
	}
}

// do hands t to a goroutine and waits while all are busy.
func (p *pool[T]) do(t T) {
	if p.try(t) {
		return
	}
	p.tasks <- t
}

func (p *pool[T]) spawn(t T) {
	p.done.Go(func() {
		p.run(t)
		for t := range p.tasks {
			p.run(t)
		}
	})
}

// close waits for all tasks; none may be added any more.
func (p *pool[T]) close() {
	close(p.tasks)
	p.done.Wait()
}
