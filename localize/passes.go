package localize

const (
	// cleanPasses is how often every node must pass before all are called clean.
	cleanPasses = 3
	// crowdPasses and ficklePasses are the same for the others beside several bad
	// nodes, and beside one that fails now and then.
	crowdPasses, ficklePasses = 5, 6
	// In a site of smallSite nodes, where the bad one is found in few rounds, the
	// others pass smallPasses times: in a larger one they have by then.
	smallSite, smallPasses = 128, 3
)

// passesNeeded is how often every node that is not blamed must pass in company.
// Faults come in crowds, and one that fails now and then may pass a few times:
// where one such or several nodes are bad, the others pass oftener before they
// are believed.
func (s *state) passesNeeded(certain []part) int {
	bad, fickle := 0, false
	for _, p := range certain {
		if p.place == atNode {
			bad++
			fickle = fickle || s.proven[p.a]
		}
	}
	switch {
	case len(certain) == 0:
		return cleanPasses
	case fickle:
		return ficklePasses
	case bad > 1:
		return crowdPasses
	case bad == 1 && len(s.site.nodes) <= smallSite:
		return smallPasses
	}
	return 0
}

// allPassed says whether every node that can be tested and is not blamed
// passed often enough.
func (s *state) allPassed(certain []part) bool {
	exempt, passes := s.exempt(certain), make([]int, len(s.site.nodes))
	for _, t := range s.tests {
		if len(t.group) > 1 && !t.bad() {
			for _, node := range t.group {
				passes[node]++
			}
		}
	}
	needed := s.passesNeeded(certain)
	for node, count := range passes {
		if !exempt[node] && count < needed {
			return false
		}
	}
	return true
}

// exempt says, by node, who need not pass: who is blamed, and of whom nothing
// can be told.
func (s *state) exempt(certain []part) []bool {
	list := s.hidden(certain)
	for _, p := range certain {
		switch p.place {
		case atNode:
			list[p.a] = true
		case atLink:
			list[p.a], list[p.b] = true, true
		}
	}
	return list
}
