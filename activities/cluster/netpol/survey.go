package netpol

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Survey is the answer for every ordered pair of a group of pods.
type Survey struct {
	// Directions counts ordered pairs: n pods have n*(n-1).
	Directions int
	// Blocked counts those of which at least one asked port is blocked,
	// Unknown those whose answer the API does not define. Disjoint.
	Blocked, Unknown int
	// Groups are the pairs that are not plainly allowed, put together by equal
	// answers, the largest first.
	Groups []Group
}

// Group is pairs with the same answer; From and To are one such pair.
type Group struct {
	From, To Pod
	Count    int
	Blocked  []PortRange
	Reason   Reason
}

// Survey asks about the ranges for every ordered pair of pods. Pods that no
// policy can tell apart are asked about once, so that a thousand equal pods
// cost one question and not a million.
func (s *Set) Survey(pods []Pod, protocol corev1.Protocol, asked ...PortRange) Survey {
	classes := s.classes(pods)
	result := Survey{Directions: len(pods) * (len(pods) - 1)}
	groups := map[string]*Group{}
	var order []string
	for _, from := range classes {
		for _, to := range classes {
			count := len(from) * len(to)
			source, destination := from[0], to[0]
			if &from[0] == &to[0] {
				if count -= len(from); count == 0 {
					continue
				}
				destination = to[1]
			}
			group := s.ask(source, destination, protocol, asked)
			if group == nil {
				continue
			}
			key := fmt.Sprint(group.Blocked, group.Reason)
			if groups[key] == nil {
				groups[key], order = group, append(order, key)
			}
			groups[key].Count += count
		}
	}
	for _, key := range order {
		result.count(*groups[key])
	}
	slices.SortStableFunc(result.Groups, func(a, b Group) int { return b.Count - a.Count })
	return result
}

func (v *Survey) count(group Group) {
	v.Groups = append(v.Groups, group)
	if len(group.Blocked) > 0 {
		v.Blocked += group.Count
		return
	}
	v.Unknown += group.Count
}

// ask answers several ranges for one pair, nil when all are plainly allowed.
func (s *Set) ask(from, to Pod, protocol corev1.Protocol, asked []PortRange) *Group {
	group := &Group{From: from, To: to}
	for _, r := range asked {
		blocked, reason := s.Ranges(from, to, protocol, r)
		group.Blocked = append(group.Blocked, blocked...)
		group.Reason = group.Reason.and(reason)
	}
	if len(group.Blocked) == 0 && group.Reason.Unknown == "" {
		return nil
	}
	group.Blocked = Merge(group.Blocked)
	return group
}

// and joins the reasons of two ranges.
func (r Reason) and(other Reason) Reason {
	if r.Unknown == "" {
		r.Unknown = other.Unknown
	}
	r.Egress = union(r.Egress, other.Egress)
	r.Ingress = union(r.Ingress, other.Ingress)
	return r
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// classes groups pods that no policy of the set can tell apart, in the order
// of their first pod.
func (s *Set) classes(pods []Pod) [][]Pod {
	byKey := map[string]int{}
	var classes [][]Pod
	for _, pod := range pods {
		key := s.fingerprint(pod)
		at, known := byKey[key]
		if !known {
			at = len(classes)
			byKey[key] = at
			classes = append(classes, nil)
		}
		classes[at] = append(classes[at], pod)
	}
	return classes
}

// fingerprint is the answers of every selector, block and port name of the
// set about one pod. Labels as such must not be in it: the pods of an Indexed
// Job all differ in the label of their index.
func (s *Set) fingerprint(pod Pod) string {
	var key strings.Builder
	fmt.Fprintf(&key, "%t", pod.HostNetwork)
	for _, p := range s.policies {
		fmt.Fprintf(&key, ";%t", p.matches(pod))
		for _, side := range []*side{p.ingress, p.egress} {
			if side == nil {
				continue
			}
			for _, r := range side.rules {
				r.fingerprint(&key, pod, p.namespace)
			}
		}
	}
	return key.String()
}

func (r rule) fingerprint(key *strings.Builder, pod Pod, namespace string) {
	key.WriteByte('/')
	for _, p := range r.peers {
		key.WriteByte('0' + byte(p.is(pod, namespace)))
	}
	for _, p := range r.ports {
		if p.name != "" {
			fmt.Fprint(key, named(pod, p))
		}
	}
}
