package diagnosis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ground is what a refusal speaks for. Rank orders the grounds of one message:
// the higher one is met by nodes that would do otherwise.
type ground struct {
	cause  string
	rank   int
	weight float64
	words  string
}

// The grounds on which the scheduler refuses a node. Nodes without GPUs are
// refused for want of GPUs, and control-plane nodes for their taint: what is said
// of the other nodes is the cause.
var (
	volumeGround   = ground{"volume-bind-or-mount-failure", 6, 0.85, "a volume binds the pod elsewhere"}
	gpuTaint       = ground{"untolerated-taint", 5, 0.8, "a taint of the GPU nodes is not tolerated"}
	anyTaint       = ground{"untolerated-taint", 4, 0.65, "a taint is not tolerated"}
	affinityGround = ground{"node-or-pod-affinity-mismatch", 3, 0.7, "a selector or affinity excludes them"}
	sliceGround    = ground{"mig-or-sharing-config", 2, 0.55, "they do not offer such a slice"}
	gpuGround      = ground{"insufficient-gpu-capacity", 1, 0.45, "they have no such GPU free"}
	otherGround    = ground{"insufficient-gpu-capacity", 0, 0.4, "they are short of something"}
)

// background are taints that say nothing of GPUs: nodes that are not meant for
// work, or not well.
var background = []string{"node-role.kubernetes.io/", "node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "CriticalAddonsOnly", "ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", "karpenter.sh/"}

func readScheduler(m *Match, text string) bool {
	u, ok := ParseUnschedulable(strings.Join(strings.Fields(text), " "))
	if !ok || u.Fit > 0 {
		return false
	}
	m.Reading = judgeUnschedulable(u)
	return true
}

// judgeUnschedulable names the ground of the nodes that could have done.
func judgeUnschedulable(u Unschedulable) *Reading {
	best, lacking, other := ground{rank: -1}, 0, 0
	var told []string
	for _, refusal := range u.Reasons {
		g := groundOf(refusal)
		if g.rank > best.rank {
			best = g
		}
		switch g {
		case gpuGround, sliceGround:
			lacking += refusal.Count
		case otherGround:
		default:
			other += max(1, refusal.Count)
		}
		told = append(told, refusal.String())
	}
	if best.rank < 0 {
		best = otherGround
	}
	const most = 4
	if len(told) > most {
		told = append(told[:most:most], fmt.Sprintf("and %d more reasons", len(told)-most))
	}
	r := &Reading{FailureCase: "gpu-unschedulable", Weight: best.weight,
		Meaning: fmt.Sprintf("no node takes the pod: %s (%s)", best.words, strings.Join(told, ", "))}
	r.Causes = others(best, u)
	if best.rank > gpuGround.rank && lacking >= u.Nodes && lacking > 0 && other < lacking { // the same nodes lack GPUs as well
		r.Weight = min(r.Weight, 0.5)
	}
	return r
}

// others lists the causes, the named one first, then what would show itself the
// same way.
func others(best ground, u Unschedulable) []string {
	causes := []string{best.cause}
	for _, refusal := range u.Reasons {
		causes = add(causes, groundOf(refusal).cause)
	}
	slices.SortStableFunc(causes[1:], func(a, b string) int { return cmp.Compare(a, b) })
	if best == gpuGround || best == otherGround {
		causes = add(add(causes, "device-plugin-not-registered"), "autoscaler-cannot-add-gpu-node")
	}
	return causes
}

func groundOf(r Refusal) ground {
	text := r.Text
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	switch {
	case has("volume", "ersistent", "enough free storage", "PersistentVolumeClaim", "available disk", "persistentvolumeclaim"):
		return volumeGround
	case r.Taint != "":
		return taintGround(r.Taint)
	case has("taint"):
		return anyTaint
	case has("affinity", "selector", "topology spread", "requested node name", "MatchNodeSelector", "PodTopologySpread"):
		return affinityGround
	case strings.Contains(r.Resource, "/mig-"):
		return sliceGround
	case gpuResource.MatchString(r.Resource), has("cannot allocate all claims", "resourceclaim", "device class"):
		return gpuGround
	}
	return otherGround
}

func taintGround(taint string) ground {
	switch {
	case slices.ContainsFunc(background, func(prefix string) bool { return strings.HasPrefix(taint, prefix) }):
		return otherGround
	case gpuResource.MatchString(taint):
		return gpuTaint
	}
	return anyTaint
}
