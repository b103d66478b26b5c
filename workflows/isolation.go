package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gpumedic/incident"
	"gpumedic/steps"
)

// regroupSlack is how long after the eviction of a rank what its peers log is
// not yet taken for progress of the new group: their last step may still be on
// its way to the log.
const regroupSlack = 5 * time.Second

// nodesToTest are the nodes of a communication test: those of the ranks, and
// after an isolation those on which the ranks can be then.
func (s *story) nodesToTest(purpose string) []incident.Node {
	if plan := s.record.Plan; purpose == verifyTest && plan != nil && plan.Isolation != nil {
		return plan.Isolation.After
	}
	return s.record.Workload.Nodes
}

// settled is from when on lines of the ranks count.
func (g *saga) settled(now time.Time) time.Time {
	if g.plan.Restart {
		return now
	}
	return now.Add(regroupSlack)
}

// unheard are isolated nodes from which no pod can be seen to go.
func (g *saga) unheard() []string {
	if g.plan.Isolation == nil {
		return nil
	}
	return g.plan.Isolation.Unheard
}

// ranksOn says which ranks are on isolated nodes again; "" when none is.
func (g *saga) ranksOn(nodes []incident.Node) string {
	if g.plan.Isolation == nil {
		return ""
	}
	var back []string
	for _, node := range nodes {
		if slices.Contains(g.plan.Nodes, node.Name) {
			back = append(back, node.Name)
		}
	}
	if len(back) == 0 {
		return ""
	}
	return "ranks are on the isolated nodes again: " + strings.Join(back, ", ")
}

// toRelease tells how to put isolated nodes back into service: gpumedic hands
// them over to whoever repairs them, and takes them back from nobody.
func (g *saga) toRelease() string {
	if g.plan.Isolation == nil {
		return ""
	}
	names := strings.Join(g.plan.Nodes, " ")
	return fmt.Sprintf("Have %s repaired. gpumedic does not put isolated nodes back into service; afterwards run: kubectl taint nodes %s %s:NoSchedule- && kubectl annotate nodes %s %s- && kubectl uncordon %s",
		names, names, steps.IsolatedTaint, names, steps.OperationAnnotation, names)
}
