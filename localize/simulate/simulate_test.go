package simulate_test

import (
	"strings"
	"testing"

	"gpumedic/incident"
	"gpumedic/localize"
	"gpumedic/localize/simulate"
)

// TestPlannerIsRight plays a few cases of every model; make eval-localize plays
// many. A wrong verdict here is a regression: the cases are always the same.
func TestPlannerIsRight(t *testing.T) {
	exact, all := 0, 0
	for _, model := range simulate.Models() {
		for _, c := range []simulate.Case{
			{Model: model, Nodes: 32, Noise: 0, Seed: 101, Told: true},
			{Model: model, Nodes: 64, Noise: 0.03, Seed: 102},
		} {
			m, err := simulate.Play(c, simulate.Planned)
			if err != nil {
				t.Fatal(err)
			}
			all++
			if m.Exact {
				exact++
			} else {
				t.Logf("%s, %d nodes: bad is %v: %s", c.Model, c.Nodes, m.Bad, m.Verdict.Why)
			}
			if m.FalseBlame {
				t.Errorf("%s, %d nodes: a healthy node is blamed: bad is %v: %s", c.Model, c.Nodes, m.Bad, m.Verdict.Why)
			}
		}
	}
	if exact < all-2 {
		t.Errorf("%d of %d verdicts are exact", exact, all)
	}
}

// TestWorldsAreWhatTheySay asks each model the tests that tell it apart.
func TestWorldsAreWhatTheySay(t *testing.T) {
	for model, want := range map[string]struct{ all, leaf, pair incident.TestResult }{
		"clean":  {incident.TestPass, incident.TestPass, incident.TestPass},
		"infra":  {incident.TestFail, incident.TestFail, incident.TestFail},
		"leaf":   {incident.TestFail, incident.TestFail, incident.TestFail},
		"uplink": {incident.TestFail, incident.TestPass, incident.TestFail},
	} {
		w, err := simulate.New(simulate.Case{Model: model, Nodes: 32, Seed: 9})
		if err != nil {
			t.Fatal(err)
		}
		leaf := w.Site[0].Leaf
		if len(w.Bad) > 0 && strings.HasPrefix(w.Bad[0], "switch ") {
			leaf = strings.TrimPrefix(w.Bad[0], "switch ")
		}
		var all, inside, pair incident.Group
		for _, node := range w.Site {
			all.Nodes = append(all.Nodes, node.Name)
			if node.Leaf == leaf {
				inside.Nodes = append(inside.Nodes, node.Name)
			} else if len(pair.Nodes) == 0 {
				pair.Nodes = []string{node.Name}
			}
		}
		pair.Nodes = append(pair.Nodes, inside.Nodes[0])
		outcomes := w.Run([]incident.Group{all, inside, pair})
		for i, result := range []incident.TestResult{want.all, want.leaf, want.pair} {
			if outcomes[i].Result != result {
				t.Errorf("%s: test %d ended %s, want %s", model, i, outcomes[i].Result, result)
			}
		}
	}
}

// TestFoulPlayIsStopped: a planner that breaks the rules must not look good.
func TestFoulPlayIsStopped(t *testing.T) {
	c := simulate.Case{Model: "clean", Nodes: 8, Seed: 1}
	for name, groups := range map[string][]incident.Group{
		"no group":    {},
		"empty group": {{}},
		"unknown":     {{Nodes: []string{"nobody"}}},
		"twice":       {{Nodes: []string{"gpu-0001"}}, {Nodes: []string{"gpu-0001"}}},
	} {
		_, err := simulate.Play(c, func(_ localize.Input, ask simulate.Ask) incident.Verdict {
			ask(groups)
			return incident.Verdict{Clean: true}
		})
		if err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
	for _, model := range []string{"", "hard-x", "hard-7", "cosmic-rays"} {
		if _, err := simulate.New(simulate.Case{Model: model, Nodes: 8}); err == nil {
			t.Errorf("model %q was played", model)
		}
	}
}

// TestBaselinesFindAHardFault: what they are known for, without noise.
func TestBaselinesFindAHardFault(t *testing.T) {
	for _, b := range simulate.Baselines() {
		for _, model := range []string{"clean", "hard-1"} {
			m, err := simulate.Play(simulate.Case{Model: model, Nodes: 32, Seed: 4, Told: true}, b.Search)
			if err != nil || !m.Exact {
				t.Errorf("%s, %s: exact %t: %+v %v", b.Name, model, m.Exact, m.Verdict, err)
			}
		}
	}
}
