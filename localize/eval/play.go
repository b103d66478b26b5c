package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"gpumedic/localize/simulate"
)

// cases lists what is played, in a fixed order. Two of three sites tell what
// bandwidth to expect.
func (o options) cases(most int) []simulate.Case {
	var list []simulate.Case
	for _, model := range o.models {
		for _, nodes := range o.sizes {
			if most > 0 && nodes > most {
				continue
			}
			for _, noise := range o.noises {
				for seed := range o.seeds {
					c := simulate.Case{Model: model, Nodes: nodes, Noise: noise, Seed: o.first + uint64(seed), Told: seed%3 != 2, Prior: o.prior}
					list = append(list, c)
				}
			}
		}
	}
	return list
}

// playAll plays the cases on all cores; the marks come in the order of the cases.
func playAll(ctx context.Context, o options, search simulate.Baseline, progress io.Writer) ([]simulate.Mark, error) {
	cases := o.cases(search.Most)
	marks, errs := make([]simulate.Mark, len(cases)), make([]error, len(cases))
	told := newTeller(progress, search.Name, len(cases))
	next := make(chan int)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := range next {
				marks[i], errs[i] = simulate.Play(cases[i], search.Search)
				told.done()
			}
		})
	}
	for i := range cases {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("playing %s: %w", search.Name, err)
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// teller says every few seconds how far the playing is.
type teller struct {
	mu    sync.Mutex
	out   io.Writer
	name  string
	all   int
	count int
	last  time.Time
}

func newTeller(out io.Writer, name string, all int) *teller {
	return &teller{out: out, name: name, all: all, last: time.Now()}
}

func (t *teller) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if time.Since(t.last) > 5*time.Second {
		t.last = time.Now()
		fmt.Fprintf(t.out, "%s: %d of %d cases\n", t.name, t.count, t.all)
	}
}
