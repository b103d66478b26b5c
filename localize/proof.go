package localize

import (
	"slices"
)

// switchMembers must fail one by one to cross the border of a blamed switch.
const switchMembers = 3

// unproven lists the blamed nodes that have not failed often enough with
// partners that passed elsewhere or are blamed themselves.
func (s *state) unproven(parts []part) group {
	var list group
	for _, p := range parts {
		switch {
		case p.place == atNode && (s.proofsAgainst(int(p.a)) < s.proofsNeeded(int(p.a)) || !s.failedClosely(int(p.a))):
			list = append(list, int(p.a))
		case p.place == atLink && !s.met[ascendingPair(int(p.a), int(p.b))]:
			list = append(list, int(p.a), int(p.b))
		}
	}
	return list
}

// closely is how many nodes a test may have that accuses one of them: in a larger
// company the fault may be another's that fails now and then and passed elsewhere.
const closely = 4

// failedClosely says whether a node was in a bad test of few.
func (s *state) failedClosely(node int) bool {
	return slices.ContainsFunc(s.tests, func(t test) bool {
		_, in := slices.BinarySearch(t.group, node)
		return in && t.bad() && len(t.group) <= closely
	})
}

// proofsNeeded is one more for a node that passed too: it fails now and then,
// and so do healthy ones.
func (s *state) proofsNeeded(node int) int {
	if s.proven[node] {
		return proofs + 1
	}
	return proofs
}

// infraOpen says whether infrastructure is blamed before it was seen that pairs
// fail wherever they are taken from, and that nodes by themselves work.
func (s *state) infraOpen(parts []part) bool {
	if !slices.ContainsFunc(parts, func(p part) bool { return p.place == atInfra }) {
		return false
	}
	return len(s.infraProof()) > 0
}

// infraProof is the next round that infrastructure is proved with, nil when it is.
func (s *state) infraProof() []group {
	pairs, inside := 0, 0
	for _, t := range s.tests {
		switch len(t.group) {
		case 1:
			inside++
		case 2:
			pairs++
		}
	}
	all := s.free(s.site.all())
	switch want := min(infraPairs, len(all)/2); {
	case pairs < want:
		return even(shuffled(all, 3)[:2*want], want)
	case inside < want && len(all) <= 4*infraPairs:
		return s.singles(strided(all, 2)[:min(len(all), infraPairs)])
	}
	return nil
}

// switchProof is the next round that a blamed switch is proved with, nil when it
// is: two bad nodes behind the same switch look like it, so as many as
// switchMembers of its nodes must fail to cross its border without the others.
func (s *state) switchProof(parts []part) []group {
	for _, p := range parts {
		if p.place != atSwitch {
			continue
		}
		members := s.free(s.site.domains[p.a].members)
		accused := s.failedApart(members)
		missing := min(switchMembers, len(members)) - len(accused)
		if missing <= 0 {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(members), func(node int) bool { return slices.Contains(accused, node) })
		if round := s.runnable(s.across(members, left, min(missing, len(left)))); len(round) > 0 {
			return round
		}
	}
	return nil
}

// failedApart lists the members of a domain that were in a bad test without any
// other of them.
func (s *state) failedApart(members group) group {
	var list group
	for _, t := range s.tests {
		if !t.bad() || len(t.group) < 2 {
			continue
		}
		inside := slices.DeleteFunc(slices.Clone(t.group), func(node int) bool { return !slices.Contains(members, node) })
		if len(inside) == 1 && !slices.Contains(list, inside[0]) {
			list = append(list, inside[0])
		}
	}
	return list
}

// proofsAgainst counts bad tests of a node in company that is all proven good,
// no two with a member in common: else the way to that member would explain
// both. Bad tests of the node by itself count each.
func (s *state) proofsAgainst(node int) int {
	var companies []group
	alone := 0
	for _, t := range s.tests {
		if _, in := slices.BinarySearch(t.group, node); !in || !t.bad() {
			continue
		}
		if len(t.group) == 1 {
			alone++
			continue
		}
		guilty := func(other int) bool { return other != node && !s.proven[other] }
		if !slices.ContainsFunc(t.group, guilty) {
			companies = append(companies, t.group)
		}
	}
	return alone + apartFrom(companies)
}

// apartFrom counts companies of which no two have more than one member in
// common (who is accused), taking the smallest first.
func apartFrom(companies []group) int {
	slices.SortStableFunc(companies, func(a, b group) int { return len(a) - len(b) })
	var kept []group
	for _, c := range companies {
		if !slices.ContainsFunc(kept, func(k group) bool { return common(k, c) > 1 }) {
			kept = append(kept, c)
		}
	}
	return len(kept)
}

func common(a, b group) int {
	count := 0
	for _, node := range a {
		if _, in := slices.BinarySearch(b, node); in {
			count++
		}
	}
	return count
}

// proof is the round that would prove what is believed already: each with a
// partner, everybody else together; empty when no partners are left.
func (s *state) proof(certain []part, open group) []group {
	if links := s.linksToProve(certain); len(links) > 0 {
		return links
	}
	pairs := slices.DeleteFunc(s.pairUp(s.free(open)), func(g group) bool { return s.met[ascendingPair(g[0], g[1])] })
	if len(pairs) == 0 && len(s.site.nodes) <= few {
		return s.singles(open)
	}
	if rest := without(s.free(s.site.all()), pairs); len(pairs) > 0 && len(rest) > 1 {
		rest = slices.DeleteFunc(rest, func(node int) bool { return s.suspicion(node) > 0.3 })
		if len(rest) > 1 {
			pairs = append(pairs, rest)
		}
	}
	return s.runnable(pairs)
}

// linksToProve are links that are sure to be bad and were not yet tested alone.
func (s *state) linksToProve(certain []part) []group {
	var list []group
	for _, p := range certain {
		if p.place == atLink && !s.met[ascendingPair(int(p.a), int(p.b))] && len(without(group{int(p.a), int(p.b)}, list)) == 2 {
			list = append(list, ascending(int(p.a), int(p.b)))
		}
	}
	return s.runnable(list)
}
