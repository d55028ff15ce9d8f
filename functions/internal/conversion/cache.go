package conversion

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"
)

// cache remembers compiled expressions by their text, and those that do not
// compile with their error. It is bounded by their number and by the bytes of
// their texts together; what was not used for longest goes first.
type cache struct {
	compile  func(expression string) (*program, error)
	compiles atomic.Int64
	maxTexts int
	flights  singleflight.Group

	mu    sync.Mutex
	known *simplelru.LRU[string, compiled]
	texts int // bytes of the texts in known
}

type compiled struct {
	program *program
	err     error
}

func newCache(l Limits, compile func(string) (*program, error)) *cache {
	c := &cache{compile: compile, maxTexts: l.Texts}
	known, err := simplelru.NewLRU(l.Programs, func(text string, _ compiled) { c.texts -= len(text) })
	if err != nil {
		panic(err) // only for a size that Limits does not allow
	}
	c.known = known
	return c
}

// get returns the program of an expression. However many ask for one at a time,
// it is compiled once.
func (c *cache) get(expression string) (*program, error) {
	if found, ok := c.lookup(expression); ok {
		return found.program, found.err
	}
	v, _, _ := c.flights.Do(expression, func() (any, error) {
		if found, ok := c.lookup(expression); ok {
			return found, nil
		}
		c.compiles.Add(1)
		made := c.make(expression)
		c.add(expression, made)
		return made, nil
	})
	made := v.(compiled)
	return made.program, made.err
}

// make compiles. A panic of the compiler stays with the expression that causes
// it: the flights would end the process.
func (c *cache) make(expression string) (made compiled) {
	defer func() {
		if p := recover(); p != nil {
			made = compiled{err: failed(InvalidExpression, "1:1: the compiler fails: %v", p)}
		}
	}()
	p, err := c.compile(expression)
	return compiled{p, err}
}

func (c *cache) lookup(expression string) (compiled, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.Get(expression)
}

func (c *cache) add(expression string, made compiled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Add(expression, made)
	c.texts += len(expression)
	for c.texts > c.maxTexts && c.known.Len() > 1 {
		c.known.RemoveOldest()
	}
}
