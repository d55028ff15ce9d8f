package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// chosen are the faults that are asked for.
func (o options) chosen() ([]fault, error) {
	if o.For <= 0 || o.Rate < 1 {
		return nil, errors.New("--for must be above 0, --rate at least 1")
	}
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	for _, name := range o.Faults {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no fault %q; choose from: %s", name, strings.Join(names, ", "))
		}
	}
	if len(o.Faults) == 0 {
		return faults, nil
	}
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !slices.Contains(o.Faults, f.name) }), nil
}

// breakThings draws faults from the seed until the time is over. Up to two are at
// work at once, on different targets.
func breakThings(ctx context.Context, w *world, l *load, o options) (*record, error) {
	chosen, err := o.chosen()
	if err != nil {
		return nil, err
	}
	rec := newRecord()
	// A fault that has begun is mended, also after the time is over.
	patient, release := context.WithTimeout(ctx, o.For+2*time.Minute)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	var running sync.WaitGroup
	var busy sync.Map
	failed := make(chan error, 1)
	slots := make(chan struct{}, 2)
	for r := random(o.Seed); ctx.Err() == nil; {
		f, seed, gap := pick(r, chosen), r.Uint64(), between(r, 100*time.Millisecond, 2*time.Second)
		if _, taken := busy.LoadOrStore(f.target, true); !taken {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { busy.Delete(f.target); <-slots }()
				w.log.Info("fault", "name", f.name)
				began := time.Now()
				err := f.do(patient, w, random(seed))
				if why := (impossible{}); errors.As(err, &why) {
					rec.cannot(f.name, why)
					return
				}
				if err != nil {
					select {
					case failed <- fmt.Errorf("%s: %w", f.name, err):
					default:
					}
				}
				ended := time.Now()
				rec.add(f.name, span{began, ended, l.recovered(patient)})
			})
		}
		select {
		case err := <-failed:
			cancel()
			running.Wait()
			return rec, err
		case <-ctx.Done():
		case <-time.After(gap):
		}
	}
	running.Wait()
	select {
	case err := <-failed:
		return rec, err
	default:
		return rec, nil
	}
}
