package faults

import (
	"context"
	"sync"
	"testing"
)

// TestMeetingCountsWhoLeavesAfterIt: a rank that ends at once when all have met
// does not spoil the meeting of those that have not noticed it yet.
func TestMeetingCountsWhoLeavesAfterIt(t *testing.T) {
	for range 20000 {
		members := map[int]*process{0: {rank: 0}, 1: {rank: 1}, 2: {rank: 2}}
		g := newGang(members)
		var ranks sync.WaitGroup
		for rank := range members {
			ranks.Go(func() {
				if !g.meet(context.Background(), finished, rank) {
					t.Errorf("rank %d met nobody, and all were there", rank)
				}
				g.leave(rank)
			})
		}
		ranks.Wait()
		if t.Failed() {
			return
		}
	}
}

func TestNobodyMeetsWhoLeftBefore(t *testing.T) {
	g := newGang(map[int]*process{0: {rank: 0}, 1: {rank: 1}})
	g.leave(1)
	g.leave(1) // once more changes nothing
	if g.meet(context.Background(), finished, 0) || len(g.gone) != 1 {
		t.Errorf("rank 0 met a rank that had ended; gone: %v", g.gone)
	}
}
