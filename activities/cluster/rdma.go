package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// networkStatus is the annotation in which Multus lists a pod's interfaces.
const networkStatus = "k8s.v1.cni.cncf.io/network-status"

// CheckRDMA answers D5: whether the pods request the RDMA device that their
// nodes offer, and whether the interface that they name exists.
func (h *Hands) CheckRDMA(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	now, found, err := h.reread(ctx, workload)
	if err != nil {
		return unanswered(ctx, steps.CheckRDMA, workload.Target, err, incident.RDMANotRequested, incident.RDMAOffered, incident.InterfaceMissing)
	}
	offered := h.rdmaOffered(ctx, now, params.Fabric)
	findings := []incident.Finding{rdmaRequested(now, found, params.Fabric), offered}
	return steps.CheckResult{Findings: append(findings, h.interfaces(ctx, now, found, params.Fabric)...)}, ctx.Err()
}

func rdmaFinding(id string, target incident.Target) incident.Finding {
	return incident.Finding{ID: id, Check: steps.CheckRDMA, State: incident.Unknown, Subject: subjectOf(target)}
}

// rdmaRequested looks at the pods, or where there are none at the template.
func rdmaRequested(now incident.Workload, found kin, fabric incident.FabricSettings) incident.Finding {
	finding := rdmaFinding(incident.RDMANotRequested, now.Target)
	if len(fabric.RDMAResources) == 0 {
		finding.Why = "no RDMA resources are configured (fabric.rdma_resources)"
		return finding
	}
	if len(now.Ranks) == 0 || len(found.pods) == 0 {
		return templateRequests(finding, now, found, fabric)
	}
	var without, other []string
	seen := map[string]bool{}
	for _, pod := range rankPodsOf(now, found) {
		names := requestsOf(pod, fabric.RDMAResources)
		for _, name := range names {
			seen[name] = true
		}
		switch {
		case len(names) > 0:
		case otherWay(pod) != "":
			other = append(other, otherWay(pod))
		default:
			without = append(without, pod.Name)
		}
	}
	finding.Value = fmt.Sprintf("%d of %d ranks", len(without), len(now.Ranks))
	switch {
	case len(without) > 0:
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("the pods of %d of %d ranks request no RDMA device, so NCCL finds none in them and silently uses TCP", len(without), len(now.Ranks))
		finding.Evidence = []string{objectFile("Pod", without[0])}
	case len(other) > 0:
		finding.Why = fmt.Sprintf("%d pods request no RDMA device and may have one all the same: %s", len(other), other[0])
	default:
		finding.State = incident.No
		finding.Why = fmt.Sprintf("the pods of all %d ranks request %s", len(now.Ranks), strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	}
	return finding
}

func templateRequests(finding incident.Finding, now incident.Workload, found kin, fabric incident.FabricSettings) incident.Finding {
	if found.top == nil {
		finding.Why = fmt.Sprintf("%s is gone", now.Target)
		return finding
	}
	if len(gpuContainers(found.top.Object)) == 0 {
		finding.Why = fmt.Sprintf("%s has no pods now, and its template shows no container with GPUs", now.Target)
		return finding
	}
	finding.State, finding.Value = incident.No, "pod template"
	finding.Evidence = []string{objectFile(found.top.GetKind(), found.top.GetName())}
	names := requestedRDMA(found.top.Object, fabric.RDMAResources)
	finding.Why = "the pod template requests " + strings.Join(names, ", ")
	if len(names) == 0 {
		finding.State, finding.Why = incident.Yes, "the pod template requests no RDMA device (there are no pods now)"
	}
	return finding
}

// rankPodsOf gives the pods of the present ranks, in their order.
func rankPodsOf(now incident.Workload, found kin) []corev1.Pod {
	byName := map[string]corev1.Pod{}
	for _, pod := range found.pods {
		byName[pod.Name] = pod
	}
	var pods []corev1.Pod
	for _, rank := range now.Ranks {
		if pod, there := byName[rank.Pod]; there {
			pods = append(pods, pod)
		}
	}
	return pods
}

// requestsOf lists the RDMA resources that a pod requests, sorted.
func requestsOf(pod corev1.Pod, configured []string) []string {
	names := map[string]bool{}
	for _, container := range pod.Spec.Containers {
		for _, list := range []corev1.ResourceList{container.Resources.Limits, container.Resources.Requests} {
			for name, amount := range list {
				if isRDMA(string(name), configured) && !amount.IsZero() {
					names[string(name)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// otherWay says how a pod may have a device without requesting it, "" when we
// know of no way.
func otherWay(pod corev1.Pod) string {
	if len(pod.Spec.ResourceClaims) > 0 {
		return "it has resource claims, which are not read"
	}
	for _, container := range pod.Spec.Containers {
		if context := container.SecurityContext; context != nil && context.Privileged != nil && *context.Privileged {
			return fmt.Sprintf("container %s is privileged and sees the node's devices", container.Name)
		}
	}
	return ""
}

// rdmaOffered looks at what the ranks' nodes have to give.
func (h *Hands) rdmaOffered(ctx context.Context, now incident.Workload, fabric incident.FabricSettings) incident.Finding {
	finding := rdmaFinding(incident.RDMAOffered, now.Target)
	names := rankNodes(now)
	if len(names) == 0 { // the ranks are gone: ask the nodes on which they were
		for _, node := range now.Nodes {
			names = append(names, node.Name)
		}
	}
	if len(names) == 0 {
		finding.Why = "on which nodes the ranks would run is not known"
		return finding
	}
	nodes, unread, err := h.readNodes(ctx, names)
	if err != nil {
		finding.Why = err.Error()
		return finding
	}
	count, have := map[string]int{}, 0
	for _, node := range nodes {
		offers := placed(node, fabric).RDMA
		for name := range offers {
			count[name]++
		}
		if len(offers) > 0 {
			have++
		}
	}
	switch {
	case have > 0:
		finding.State, finding.Value = incident.Yes, strings.Join(slices.Sorted(maps.Keys(count)), ", ")
		finding.Why = fmt.Sprintf("%d of %d nodes of the ranks offer %s", have, len(names), finding.Value)
		finding.Evidence = []string{objectFile("Node", firstKey(nodes))}
	case len(unread) > 0:
		finding.Why = fmt.Sprintf("%d of %d nodes could not be read: %s", len(unread), len(names), firstReason(names, unread))
	default:
		finding.State = incident.No
		finding.Why = fmt.Sprintf("none of the %d nodes of the ranks offers an RDMA device (looked for %s)", len(names), strings.Join(fabric.RDMAResources, ", "))
	}
	return finding
}

func firstKey[V any](m map[string]V) string {
	return firstOf(slices.Sorted(maps.Keys(m)))
}

// interfaces compares NCCL_SOCKET_IFNAME with the interfaces that the pods are
// known to have.
func (h *Hands) interfaces(ctx context.Context, now incident.Workload, found kin, fabric incident.FabricSettings) []incident.Finding {
	reader := h.newEnvReader(now.Target.Namespace)
	type sameAnswer struct {
		finding incident.Finding
		ranks   int
	}
	var cases []sameAnswer
	pods := rankPodsOf(now, found)
	for i, pod := range pods {
		finding := interfaceOf(reader.read(ctx, now.Ranks[i], pod), pod, fabric)
		at := slices.IndexFunc(cases, func(c sameAnswer) bool {
			return c.finding.State == finding.State && c.finding.Value == finding.Value && c.finding.Why == finding.Why
		})
		if at < 0 {
			cases = append(cases, sameAnswer{finding: finding})
			at = len(cases) - 1
		}
		cases[at].ranks++
	}
	if len(cases) == 0 {
		finding := rdmaFinding(incident.InterfaceMissing, now.Target)
		finding.Why = noPods(now)
		return []incident.Finding{finding}
	}
	var findings []incident.Finding
	for _, c := range cases {
		c.finding.Why = fmt.Sprintf("on %d of %d ranks %s", c.ranks, len(pods), c.finding.Why)
		findings = append(findings, c.finding)
	}
	return findings
}

// interfaceOf answers for one rank.
func interfaceOf(env environment, pod corev1.Pod, fabric incident.FabricSettings) incident.Finding {
	finding := incident.Finding{ID: incident.InterfaceMissing, Check: steps.CheckRDMA, State: incident.Unknown, Subject: "env/" + envInterface}
	value, set := env.get(envInterface)
	have := podInterfaces(pod, fabric.Interfaces)
	finding.Value = value.value
	switch {
	case value.unknown != "":
		finding.Value, finding.Why = "", fmt.Sprintf("%s is not known: %s", envInterface, value.unknown)
	case !set || value.value == "":
		finding.State, finding.Why = incident.No, envInterface+" is not set and NCCL chooses an interface itself"
	case pod.Spec.HostNetwork:
		finding.Why = fmt.Sprintf("%s=%s names interfaces of the node, which are not known here", envInterface, value.value)
	case len(have) == 0:
		finding.Why = "the pods' interfaces are not known (fabric.interfaces)"
	case len(usable(value.value, have)) == 0:
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("%s=%s names no interface over which another node can be reached; the pods have %s", envInterface, value.value, strings.Join(have, ", "))
		finding.Evidence = []string{objectFile("Pod", pod.Name)}
	default:
		finding.State = incident.No
		finding.Why = fmt.Sprintf("%s=%s names %s, which the pods have", envInterface, value.value, strings.Join(usable(value.value, have), ", "))
	}
	return finding
}

// podInterfaces are the configured ones, and those that Multus lists. The
// loopback is left out: it reaches nobody.
func podInterfaces(pod corev1.Pod, configured []string) []string {
	have := slices.Clone(configured)
	var listed []struct {
		Interface string `json:"interface"`
	}
	if text := pod.Annotations[networkStatus]; text != "" && json.Unmarshal([]byte(text), &listed) == nil {
		for _, entry := range listed {
			if entry.Interface != "" {
				have = append(have, entry.Interface)
			}
		}
	}
	have = slices.DeleteFunc(have, func(name string) bool { return name == "lo" })
	slices.Sort(have)
	return slices.Compact(have)
}

// usable reads NCCL_SOCKET_IFNAME as NCCL does: a list of prefixes, exact names
// after "=", and everything but those after "^".
func usable(spec string, have []string) []string {
	list, exclude := strings.CutPrefix(spec, "^")
	list, exact := strings.CutPrefix(list, "=")
	var found []string
	for _, name := range have {
		hit := slices.ContainsFunc(strings.Split(list, ","), func(wanted string) bool {
			wanted, _, _ = strings.Cut(wanted, ":") // NCCL ignores a port here
			return name == wanted || !exact && wanted != "" && strings.HasPrefix(name, wanted)
		})
		if hit != exclude {
			found = append(found, name)
		}
	}
	return found
}
