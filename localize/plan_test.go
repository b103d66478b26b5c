package localize

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

// fabric answers tests from a truth. It is strict: a group with an unknown
// node, a node in two groups or an empty group ends the test.
type fabric struct {
	t     *testing.T
	nodes []incident.Node
	// fails is the truth: does a group of these nodes fail?
	fails func(group []incident.Node) bool
	// slow gives the bandwidth of a group that ends well; nil = 370.
	slow func(group []incident.Node) float64
	// errs says that a group of this round cannot be run.
	errs func(round int, group []incident.Node) bool
	// lies inverts the outcome of the n-th test, counted from 1.
	lies func(n int) bool
	ran  int
}

func (f *fabric) run(number int, groups []incident.Group) incident.Round {
	round := incident.Round{Number: number, Groups: groups}
	seen := map[string]bool{}
	for _, g := range groups {
		if len(g.Nodes) == 0 {
			f.t.Fatalf("round %d: group %s is empty", number, g.ID)
		}
		var members []incident.Node
		for _, name := range g.Nodes {
			if seen[name] {
				f.t.Fatalf("round %d: node %s is in two groups", number, name)
			}
			seen[name] = true
			at := slices.IndexFunc(f.nodes, func(n incident.Node) bool { return n.Name == name })
			if at < 0 {
				f.t.Fatalf("round %d: unknown node %s", number, name)
			}
			members = append(members, f.nodes[at])
		}
		round.Outcomes = append(round.Outcomes, f.outcome(number, g, members))
	}
	return round
}

func (f *fabric) outcome(number int, g incident.Group, members []incident.Node) incident.Outcome {
	f.ran++
	out := incident.Outcome{ID: g.ID, Nodes: g.Nodes, Result: incident.TestPass, BusBWGBps: 370}
	if f.errs != nil && f.errs(number, members) {
		return incident.Outcome{ID: g.ID, Nodes: g.Nodes, Result: incident.TestError, Why: "no room for a pod"}
	}
	failed := f.fails != nil && f.fails(members)
	if f.lies != nil && f.lies(f.ran) {
		failed = !failed
	}
	if failed {
		out.Result, out.BusBWGBps = incident.TestFail, 0
	} else if f.slow != nil {
		out.BusBWGBps = f.slow(members)
	}
	return out
}

// play runs the planner against a fabric until it speaks.
func play(t *testing.T, in Input, f *fabric) (incident.Verdict, []incident.Round) {
	t.Helper()
	f.t = t
	if f.nodes == nil {
		f.nodes = in.Nodes
	}
	var rounds []incident.Round
	for range 50 {
		step := Next(in, rounds)
		if again := Next(in, rounds); !cmp.Equal(step, again) {
			t.Fatalf("the same rounds gave two answers:\n%s", cmp.Diff(step, again))
		}
		if step.Verdict != nil {
			if len(step.Groups) > 0 {
				t.Fatal("a step has groups and a verdict")
			}
			return *step.Verdict, rounds
		}
		rounds = append(rounds, f.run(len(rounds)+1, step.Groups))
	}
	t.Fatal("no verdict after 50 rounds")
	return incident.Verdict{}, nil
}

// cluster has leafs of the same size, with two racks under each.
func cluster(nodes, leafs int) []incident.Node {
	var list []incident.Node
	for i := range nodes {
		leaf := i * leafs / nodes
		rack := i * leafs * 2 / nodes
		list = append(list, incident.Node{
			Name: fmt.Sprintf("gpu-%02d", i), Leaf: "leaf-" + string(rune('a'+leaf)), Rack: fmt.Sprintf("rack-%d", rack+1),
		})
	}
	return list
}

func holds(names ...string) func([]incident.Node) bool {
	return func(group []incident.Node) bool {
		return slices.ContainsFunc(group, func(n incident.Node) bool { return slices.Contains(names, n.Name) })
	}
}

// multi limits a fault to groups that cross nodes.
func multi(fails func([]incident.Node) bool) func([]incident.Node) bool {
	return func(group []incident.Node) bool { return len(group) > 1 && fails(group) }
}

func spans(leaf string) func([]incident.Node) bool {
	return func(group []incident.Node) bool {
		in := 0
		for _, n := range group {
			if n.Leaf == leaf {
				in++
			}
		}
		return in > 0 && in < len(group)
	}
}

func bad(v incident.Verdict) string {
	var words []string
	for _, b := range v.Bad {
		words = append(words, b.Kind+" "+b.ID)
	}
	slices.Sort(words)
	switch {
	case v.Clean:
		words = append(words, "clean")
	case v.Inconclusive:
		words = append(words, "inconclusive")
	}
	return strings.Join(words, ", ")
}

// One pass says little about a node that fails now and then, so clean takes
// three.
func TestNoFaultIsCleanAfterThreeTestsOfAll(t *testing.T) {
	v, _ := play(t, Input{Nodes: cluster(16, 2), ExpectedGBps: 370}, &fabric{})
	want := incident.Verdict{Bad: []incident.BadPart{}, Clean: true, Tests: 3, Rounds: 3, NodeTests: 48, Why: "3 of 3 tests over all 16 nodes passed"}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestEverySingleBadNodeIsFound(t *testing.T) {
	for _, n := range []int{3, 4, 5, 8, 16} {
		worst := 0
		for i := range n {
			nodes := cluster(n, max(1, n/8))
			v, rounds := play(t, Input{Nodes: nodes}, &fabric{fails: holds(nodes[i].Name)})
			if got := bad(v); got != "node "+nodes[i].Name {
				t.Errorf("%d nodes, bad %s: got %q: %s", n, nodes[i].Name, got, v.Why)
				continue
			}
			assertProven(t, nodes[i].Name, rounds)
			worst = max(worst, v.Rounds)
		}
		t.Logf("%d nodes: at most %d rounds", n, worst)
		if worst > 7 {
			t.Errorf("%d nodes: %d rounds for one bad node", n, worst)
		}
	}
}

// assertProven: no node is blamed that did not fail twice in different company
// that passed elsewhere.
func assertProven(t *testing.T, name string, rounds []incident.Round) {
	t.Helper()
	passed := map[string]bool{}
	for _, r := range rounds {
		for _, o := range r.Outcomes {
			for _, n := range o.Nodes {
				passed[n] = passed[n] || (o.Result == incident.TestPass && len(o.Nodes) > 1)
			}
		}
	}
	companies := map[string]bool{}
	for i, r := range rounds {
		for _, o := range r.Outcomes {
			if len(o.Nodes) == 1 && o.Nodes[0] == name && o.Result == incident.TestFail {
				companies[fmt.Sprint("alone in round ", i)] = true
			}
			innocent := len(o.Nodes) > 1 && slices.Contains(o.Nodes, name) && o.Result == incident.TestFail
			for _, n := range o.Nodes {
				innocent = innocent && (n == name || passed[n])
			}
			if innocent {
				companies[strings.Join(o.Nodes, ",")] = true
			}
		}
	}
	if len(companies) < 2 {
		t.Errorf("%s was blamed on the word of %d companies", name, len(companies))
	}
}

func TestTruths(t *testing.T) {
	sixteen := cluster(16, 2)
	wide := cluster(32, 4)
	for name, c := range map[string]struct {
		nodes []incident.Node
		fails func([]incident.Node) bool
		want  string
	}{
		"infrastructure":    {sixteen, multi(func([]incident.Node) bool { return true }), "infrastructure *"},
		"infrastructure, 5": {cluster(5, 1), multi(func([]incident.Node) bool { return true }), "infrastructure *"},
		"uplink, 4 leafs":   {wide, spans("leaf-b"), "switch leaf-b"},
		"uplink, 2 leafs":   {sixteen, spans("leaf-a"), "inconclusive"},
		"dead leaf": {wide, multi(func(g []incident.Node) bool {
			return slices.ContainsFunc(g, func(n incident.Node) bool { return n.Leaf == "leaf-c" })
		}), "switch leaf-c"},
		"dead rack": {wide, multi(func(g []incident.Node) bool {
			return slices.ContainsFunc(g, func(n incident.Node) bool { return n.Rack == "rack-3" })
		}), "switch rack-3"},
		"link in a leaf":         {sixteen, func(g []incident.Node) bool { return holds("gpu-02")(g) && holds("gpu-05")(g) }, "link gpu-02<->gpu-05"},
		"link across leafs":      {sixteen, func(g []incident.Node) bool { return holds("gpu-02")(g) && holds("gpu-11")(g) }, "link gpu-02<->gpu-11"},
		"two nodes":              {sixteen, holds("gpu-03", "gpu-12"), "node gpu-03, node gpu-12"},
		"two neighbours":         {sixteen, holds("gpu-06", "gpu-07"), "node gpu-06, node gpu-07"},
		"three nodes":            {wide, holds("gpu-01", "gpu-12", "gpu-29"), "node gpu-01, node gpu-12, node gpu-29"},
		"two nodes of a rack":    {wide, holds("gpu-12", "gpu-13"), "node gpu-12, node gpu-13"},
		"two nodes alone":        {cluster(2, 1), multi(func([]incident.Node) bool { return true }), "inconclusive"},
		"one of two, seen alone": {cluster(2, 1), holds("gpu-01"), "node gpu-01"},
		"one node of one":        {cluster(1, 1), holds("gpu-00"), "node gpu-00"},
		"no node":                {nil, nil, "inconclusive"},
	} {
		t.Run(name, func(t *testing.T) {
			v, rounds := play(t, Input{Nodes: c.nodes}, &fabric{fails: c.fails})
			if got := bad(v); got != c.want {
				t.Errorf("got %q, want %q: %s\n%s", got, c.want, v.Why, transcript(rounds))
			}
			t.Logf("%d rounds, %d tests: %s", v.Rounds, v.Tests, v.Why)
		})
	}
}

func transcript(rounds []incident.Round) string {
	var text strings.Builder
	for _, r := range rounds {
		for _, o := range r.Outcomes {
			fmt.Fprintf(&text, "round %d: %s %v %.0f\n", r.Number, o.Result, o.Nodes, o.BusBWGBps)
		}
	}
	return text.String()
}

func TestSlowNodeIsFoundWithAndWithoutExpectation(t *testing.T) {
	nodes := cluster(16, 2)
	slow := func(group []incident.Node) float64 {
		if holds("gpu-09")(group) {
			return 40
		}
		return 370
	}
	for name, expected := range map[string]float64{"expected": 370, "peers": 0} {
		t.Run(name, func(t *testing.T) {
			v, rounds := play(t, Input{Nodes: nodes, ExpectedGBps: expected}, &fabric{slow: slow})
			if got := bad(v); got != "node gpu-09" || !strings.Contains(v.Why, "is slow") {
				t.Errorf("got %q: %s\n%s", got, v.Why, transcript(rounds))
			}
		})
	}
}

// TestSlowIsSlowWhoeverSaysSo: the test's own program calls a slow group failed.
func TestSlowIsSlowWhoeverSaysSo(t *testing.T) {
	site := newSite(cluster(4, 1))
	tests := []test{
		{group: group{0, 1}, failed: true, busbw: 40}, {group: group{2, 3}, failed: true}, {group: group{0, 2}, busbw: 365},
		{group: group{1, 3}, failed: true, busbw: 370}, {group: group{1, 2}, busbw: 250}, {group: group{3}, busbw: 40},
	}
	judgePace(370, tests)
	type judged struct {
		failed bool
		pace   pace
	}
	want := []judged{{false, sluggish}, {true, unmeasured}, {false, full}, {true, unmeasured}, {false, unmeasured}, {false, unmeasured}}
	for i, w := range want {
		if got := (judged{tests[i].failed, tests[i].pace}); got != w {
			t.Errorf("test %d of %d nodes is %+v, want %+v", i, len(site.nodes), got, w)
		}
	}
}

func TestPeersOfTheSameSpeedAreClean(t *testing.T) {
	v, _ := play(t, Input{Nodes: cluster(16, 2)}, &fabric{})
	if got := bad(v); got != "clean" || v.Rounds != 3 {
		t.Errorf("got %q after %d rounds: %s", got, v.Rounds, v.Why)
	}
	if !strings.Contains(v.Why, "not told") {
		t.Errorf("the verdict does not say that no bandwidth was expected: %s", v.Why)
	}
}

func TestErrorsSayNothing(t *testing.T) {
	nodes := cluster(16, 2)
	always := func(int, []incident.Node) bool { return true }
	first := func(round int, _ []incident.Node) bool { return round == 1 }
	someRoom := func(_ int, group []incident.Node) bool { return holds("gpu-05")(group) }
	for name, c := range map[string]struct {
		errs   func(int, []incident.Node) bool
		fails  func([]incident.Node) bool
		want   string
		rounds int
	}{
		"always":                  {always, nil, "inconclusive", 2},
		"once, then fine":         {first, nil, "clean", 0},
		"once, then a bad node":   {first, holds("gpu-03"), "node gpu-03", 0},
		"one node has never room": {someRoom, nil, "inconclusive", 0},
		"another one is bad":      {someRoom, holds("gpu-11"), "node gpu-11", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, rounds := play(t, Input{Nodes: nodes, ExpectedGBps: 370}, &fabric{errs: c.errs, fails: c.fails})
			if got := bad(v); got != c.want || (c.rounds > 0 && v.Rounds != c.rounds) {
				t.Errorf("got %q after %d rounds, want %q after %d: %s\n%s", got, v.Rounds, c.want, c.rounds, v.Why, transcript(rounds))
			}
			if (v.Inconclusive || strings.Contains(name, "another")) && !strings.Contains(v.Why, "no room") {
				t.Errorf("the verdict does not say who could not be tested and why: %s", v.Why)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	nodes := cluster(16, 2)
	for rounds, want := range map[int]string{1: "inconclusive", 2: "inconclusive", 6: "node gpu-03"} {
		v, _ := play(t, Input{Nodes: nodes, MaxRounds: rounds}, &fabric{fails: holds("gpu-03")})
		if got := bad(v); got != want || v.Rounds > rounds {
			t.Errorf("budget %d: got %q after %d rounds: %s", rounds, got, v.Rounds, v.Why)
		}
		if v.Inconclusive && !strings.Contains(v.Why, "still possible") {
			t.Errorf("budget %d: the verdict does not say between what: %s", rounds, v.Why)
		}
	}
	v, _ := play(t, Input{Nodes: nodes, MaxRounds: 1}, &fabric{})
	if got := bad(v); got != "clean" {
		t.Errorf("budget 1, no fault: got %q", got)
	}
}

func TestAPriorAloneAccusesNobody(t *testing.T) {
	nodes := cluster(16, 2)
	in := Input{Nodes: nodes, Prior: map[string]float64{"gpu-04": 0.99}}
	v, _ := play(t, in, &fabric{fails: holds("gpu-11")})
	if got := bad(v); got != "node gpu-11" {
		t.Errorf("got %q: %s", got, v.Why)
	}
	v, _ = play(t, in, &fabric{})
	if got := bad(v); got != "clean" {
		t.Errorf("no fault: got %q: %s", got, v.Why)
	}
}

func TestOneLieDoesNotAccuseTheWrongNode(t *testing.T) {
	nodes := cluster(16, 2)
	right := 0
	const lies = 12
	for n := 1; n <= lies; n++ {
		v, rounds := play(t, Input{Nodes: nodes}, &fabric{
			fails: holds("gpu-06"),
			lies:  func(test int) bool { return test == n && test > 1 },
		})
		switch got := bad(v); got {
		case "node gpu-06":
			right++
		case "inconclusive":
		default:
			t.Errorf("test %d lied: got %q: %s\n%s", n, got, v.Why, transcript(rounds))
		}
	}
	if right < lies-2 {
		t.Errorf("only %d of %d runs with one lie found the node", right, lies)
	}
}

func TestBrokenHistoryIsNoAnswer(t *testing.T) {
	in := Input{Nodes: cluster(4, 1)}
	strange := []incident.Round{{Number: 1, Outcomes: []incident.Outcome{
		{ID: "r1-g1", Nodes: []string{"unknown"}, Result: incident.TestPass},
		{ID: "r1-g2", Result: incident.TestFail},
		{ID: "r1-g3", Nodes: []string{"gpu-00"}, Result: "maybe"},
	}}}
	step := Next(in, strange)
	if step.Verdict != nil && step.Verdict.Clean {
		t.Errorf("a history without one known node came out clean: %+v", step.Verdict)
	}
}

func TestLargeSites(t *testing.T) {
	for _, n := range []int{128, 1000} {
		nodes := cluster(n, n/16)
		for i := range nodes { // letters run out
			nodes[i].Leaf = fmt.Sprintf("leaf-%03d", i/16)
		}
		name := nodes[n/3].Name
		v, _ := play(t, Input{Nodes: nodes}, &fabric{fails: holds(name)})
		if got := bad(v); got != "node "+name {
			t.Errorf("%d nodes: got %q: %s", n, got, v.Why)
		}
		t.Logf("%d nodes: %d rounds, %d tests, %d node tests", n, v.Rounds, v.Tests, v.NodeTests)
	}
}

// TestOthersPassBeforeTheVerdict: nobody is let go who passed only by chance.
func TestOthersPassBeforeTheVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		fails func([]incident.Node) bool
		bad   []string
		want  int
	}{
		"clean":               {func([]incident.Node) bool { return false }, nil, 3},
		"beside one":          {holds("gpu-05"), []string{"gpu-05"}, 3},
		"beside two":          {holds("gpu-05", "gpu-11"), []string{"gpu-05", "gpu-11"}, 5},
		"beside a flaky node": {everyOther(holds("gpu-05")), []string{"gpu-05"}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := cluster(16, 2)
			v, rounds := play(t, Input{Nodes: nodes}, &fabric{fails: c.fails})
			if v.Inconclusive || len(v.Bad) != len(c.bad) {
				t.Fatalf("verdict %s, want %d bad\n%s", v.Why, len(c.bad), transcript(rounds))
			}
			for _, node := range nodes {
				if passed := passesOf(rounds, node.Name); !slices.Contains(c.bad, node.Name) && passed < c.want {
					t.Errorf("%s passed %d times, want %d\n%s", node.Name, passed, c.want, transcript(rounds))
				}
			}
		})
	}
}

// everyOther lets a fault show in every second test that it would break.
func everyOther(fails func([]incident.Node) bool) func([]incident.Node) bool {
	count := 0
	return func(g []incident.Node) bool {
		if !fails(g) {
			return false
		}
		count++
		return count%2 == 1
	}
}

func passesOf(rounds []incident.Round, node string) int {
	count := 0
	for _, round := range rounds {
		for i, g := range round.Groups {
			if len(g.Nodes) > 1 && slices.Contains(g.Nodes, node) && round.Outcomes[i].Result == incident.TestPass {
				count++
			}
		}
	}
	return count
}

// TestNothingCrossesIsSeenSoon: where no two nodes reach each other, asking the
// same again tells nothing, however few they are and however they are racked.
func TestNothingCrossesIsSeenSoon(t *testing.T) {
	for name, c := range map[string]struct {
		nodes, leafs, rounds int
		kind                 string
	}{
		"two nodes":             {2, 1, 6, ""},
		"four under one leaf":   {4, 1, 5, "infrastructure"},
		"four under two":        {4, 2, 5, "infrastructure"},
		"eight under one leaf":  {8, 1, 4, "infrastructure"},
		"eight under two":       {8, 2, 4, "infrastructure"},
		"eight under four":      {8, 4, 4, "infrastructure"},
		"sixteen under four":    {16, 4, 4, "infrastructure"},
		"sixty-four under four": {64, 4, 5, "infrastructure"},
	} {
		t.Run(name, func(t *testing.T) {
			v, rounds := play(t, Input{Nodes: cluster(c.nodes, c.leafs)}, &fabric{fails: multi(func([]incident.Node) bool { return true })})
			kind := ""
			if len(v.Bad) > 0 {
				kind = v.Bad[0].Kind
			}
			if kind != c.kind || v.Rounds > c.rounds {
				t.Errorf("%q in %d rounds, want %q in %d: %s\n%s", kind, v.Rounds, c.kind, c.rounds, v.Why, transcript(rounds))
			}
		})
	}
}
