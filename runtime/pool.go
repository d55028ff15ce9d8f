package runtime

import (
	"runtime"
	"sync"
)

// pool runs tasks on a bounded number of goroutines. As few of them go round as
// keep the processors busy, because a warm stack costs much less than one of many
// cold ones. Another comes whenever there is a task and none is on its way, so no
// task waits for a slow one.
type pool[T any] struct {
	run   func(T)
	limit int         // tasks at a time
	size  func(T) int // of a task in bytes, if they count
	most  int         // of these bytes at a time; default poolBytes
	spare int         // goroutines that stay when there is nothing to do

	mu      sync.Mutex
	work    sync.Cond // there is a task, or none will come any more
	space   sync.Cond // there is room for a task
	tasks   []T       // a ring: those that wait
	first   int
	waiting int  // tasks in the ring
	busy    int  // tasks that are being run
	bytes   int  // of all these tasks
	workers int  // goroutines
	idle    int  // of them, those that wait for work
	coming  bool // one is on its way to the ring
	closed  bool
	done    sync.WaitGroup
}

// poolBytes bounds the tasks of a pool at a time, where their sizes count, and with them
// what comes of each.
const poolBytes = 16 << 20

func newPool[T any](limit int, run func(T)) *pool[T] {
	p := &pool[T]{run: run, limit: limit, most: poolBytes, spare: 8 * runtime.GOMAXPROCS(0), tasks: make([]T, limit)}
	p.work.L, p.space.L = &p.mu, &p.mu
	return p
}

// try takes t; false where the pool is full.
func (p *pool[T]) try(t T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full() {
		return false
	}
	p.add(t)
	return true
}

// do takes t, and waits while the pool is full.
func (p *pool[T]) do(t T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.full() {
		p.space.Wait()
	}
	p.add(t)
}

func (p *pool[T]) full() bool { return p.waiting+p.busy == p.limit || p.bytes >= p.most }

func (p *pool[T]) weigh(t T) int {
	if p.size == nil {
		return 0
	}
	return p.size(t)
}

func (p *pool[T]) add(t T) {
	p.bytes += p.weigh(t)
	p.tasks[(p.first+p.waiting)%p.limit] = t
	p.waiting++
	p.call()
}

// call brings a goroutine to the ring, unless one is on its way.
func (p *pool[T]) call() {
	switch {
	case p.coming || p.waiting == 0:
	case p.idle > 0:
		p.coming = true
		p.work.Signal()
	case p.workers < p.limit:
		p.coming = true
		p.workers++
		p.done.Go(p.serve)
	}
}

// serve runs tasks until there are none and other goroutines wait for more.
func (p *pool[T]) serve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming = false
	for p.await() {
		t := p.take()
		p.mu.Unlock()
		p.run(t)
		p.mu.Lock()
		p.busy--
		p.bytes -= p.weigh(t)
		p.tell()
	}
	p.workers--
}

// await waits for a task; false where the goroutine is not needed any more.
func (p *pool[T]) await() bool {
	for p.waiting == 0 {
		if p.closed || p.idle == p.spare {
			return false
		}
		p.idle++
		p.work.Wait()
		p.idle--
		p.coming = false
	}
	return true
}

func (p *pool[T]) take() T {
	var none T
	t := p.tasks[p.first]
	p.tasks[p.first] = none
	p.first = (p.first + 1) % p.limit
	p.waiting--
	p.busy++
	p.tell()
	p.call()
	return t
}

// tell wakes one who waits to add a task, but not for every single place.
func (p *pool[T]) tell() {
	if n := p.waiting + p.busy; p.waiting == 0 || n <= p.limit/2 {
		p.space.Signal()
	}
}

// close waits for all tasks; none may be added any more.
func (p *pool[T]) close() {
	p.mu.Lock()
	p.closed = true
	p.work.Broadcast()
	p.mu.Unlock()
	p.done.Wait()
}
