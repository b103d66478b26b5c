package incident

import (
	"fmt"
	"testing"
)

func groups(sizes ...int) []Group {
	var out []Group
	for i, size := range sizes {
		group := Group{ID: fmt.Sprint(i)}
		for n := range size {
			group.Nodes = append(group.Nodes, fmt.Sprintf("gpu-%d-%d", i, n))
		}
		out = append(out, group)
	}
	return out
}

func TestProgress(t *testing.T) {
	node := func(id string, p float64) Suspect { return Suspect{Kind: "node", ID: id, Probability: p} }
	tests := map[string]struct {
		test CommTest
		want string
	}{
		"before the first round": {CommTest{}, ""},
		"the first round":        {CommTest{History: []Round{{Number: 1, Groups: groups(64)}}}, "Round 1: 1 group over 64 nodes"},
		"in the middle": {CommTest{
			History:  []Round{{Number: 2}, {Number: 3, Groups: groups(11, 11, 11, 11, 10, 10)}},
			Suspects: []Suspect{node("gpu-17", 0.62), node("gpu-18", 0.31)}, Cleared: 57,
		}, "Round 3: 6 groups over 64 nodes; still suspected: gpu-17 (62 %), gpu-18 (31 %); 57 nodes cleared"},
		"other kinds": {CommTest{
			History:  []Round{{Number: 2, Groups: groups(1, 1)}},
			Suspects: []Suspect{{Kind: "link", ID: "a<->b", Probability: 0.5}, {Kind: "switch", ID: "leaf-3", Probability: 0.3}, {Kind: "infrastructure", ID: "*", Probability: 0.2}}, Cleared: 1,
		}, "Round 2: 2 groups over 2 nodes; still suspected: link a<->b (50 %), switch leaf-3 (30 %), everything that crosses nodes (20 %); 1 node cleared"},
		"many suspects": {CommTest{
			History:  []Round{{Number: 2, Groups: groups(2)}},
			Suspects: []Suspect{node("a", 0.1), node("b", 0.1), node("c", 0.1), node("d", 0.1), node("e", 0.1), node("f", 0.1)},
		}, "Round 2: 1 group over 2 nodes; still suspected: a (10 %), b (10 %), c (10 %), d (10 %) and 2 more"},
	}
	for name, test := range tests {
		if got := test.test.Progress(); got != test.want {
			t.Errorf("%s: %q\nwant %q", name, got, test.want)
		}
	}
}
