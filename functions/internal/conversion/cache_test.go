package conversion

import (
	"fmt"
	"sync"
	"testing"
)

func TestCompileOnce(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{`cayenne_lpp_decode(input)`, `{'a': nope}`} {
		c := newConverter(t, Limits{})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := c.Convert(t.Context(), expression, input())
				if checked := c.Check(expression); (err == nil) != (checked == nil) {
					t.Errorf("Convert returns %v, Check %v", err, checked)
				}
			})
		}
		wg.Wait()
		if got := c.cache.compiles.Load(); got != 1 {
			t.Errorf("%s was compiled %d times", expression, got)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	expression := func(i int) string { return fmt.Sprintf(`{'a': %4d}`, i) } // 11 bytes
	for _, test := range []struct {
		name   string
		limits Limits
		keeps  int
	}{
		{"by number", Limits{Programs: 3}, 3},
		{"by bytes", Limits{Texts: 40}, 3},
		{"by bytes, of one that is longer", Limits{Texts: 5}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, test.limits)
			check := func(i int, compiles int64) {
				t.Helper()
				if err := c.Check(expression(i)); err != nil {
					t.Fatal(err)
				}
				if got := c.cache.compiles.Load(); got != compiles {
					t.Fatalf("after expression %d there were %d compilations, want %d", i, got, compiles)
				}
			}
			n := int64(0)
			for i := range test.keeps {
				n++
				check(i, n)
			}
			for i := range test.keeps {
				check(i, n) // all are remembered, the first is now the oldest
			}
			check(test.keeps, n+1) // takes the place of the first
			check(test.keeps, n+1)
			check(0, n+2)
			if got := c.cache.known.Len(); got != test.keeps {
				t.Errorf("%d are remembered, want %d", got, test.keeps)
			}
			if got, want := c.cache.texts, test.keeps*len(expression(0)); got != want {
				t.Errorf("the texts have %d bytes, want %d", got, want)
			}
		})
	}
}

// TestCompilerPanics holds that an expression which the compiler cannot cope with ends nothing.
func TestCompilerPanics(t *testing.T) {
	t.Parallel()
	c := newCache(Limits{Programs: 1}, func(string) (*program, error) { panic("no way") })
	_, err := c.get("x")
	expect(t, err, InvalidExpression, "the compiler fails: no way")
}
