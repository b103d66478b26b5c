package simulate

import (
	"fmt"
	"testing"

	"gpumedic/incident"
	"gpumedic/localize"
)

// BenchmarkPlan is one decision in the middle of a search, for each site size:
// the slowest of the rounds of a played case is what a worker waits for.
func BenchmarkPlan(b *testing.B) {
	for _, nodes := range []int{64, 1024, 4096} {
		for _, model := range []string{"hard-1", "hard-8", "link"} {
			in, rounds := midway(b, Case{Model: model, Nodes: nodes, Noise: 0.02, Seed: 5, Told: true})
			b.Run(fmt.Sprintf("%s/%d", model, nodes), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					localize.Next(in, rounds)
				}
			})
		}
	}
}

// midway plays a case for six rounds, or to the round before its verdict.
func midway(tb testing.TB, c Case) (localize.Input, []incident.Round) {
	w, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	in := w.input()
	var rounds []incident.Round
	for len(rounds) < 6 {
		step := localize.Next(in, rounds)
		if step.Verdict != nil {
			return in, rounds[:len(rounds)-1]
		}
		rounds = append(rounds, incident.Round{Number: len(rounds) + 1, Groups: step.Groups, Outcomes: w.Run(step.Groups)})
	}
	return in, rounds
}
