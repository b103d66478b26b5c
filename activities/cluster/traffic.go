package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/cluster/netpol"
	"gpumedic/incident"
)

// ephemeral is Linux's default net.ipv4.ip_local_port_range, from which NCCL
// takes its ports; it has no setting of its own.
var ephemeral = netpol.PortRange{First: 32768, Last: 60999}

// Where clusters keep their DNS, by the labels that every distribution keeps.
const (
	dnsNamespace  = "kube-system"
	dnsLabel      = "k8s-app"
	dnsLabelValue = "kube-dns"
)

// traffic is everything that decides which packets of the ranks may pass.
type traffic struct {
	// policies of the target's namespace and of that of the DNS.
	policies []networkingv1.NetworkPolicy
	set      *netpol.Set
	ranks    []netpol.Pod
	// live are the ranks' pods; empty when they are gone and ranks are made
	// from the workload's pod labels.
	live []corev1.Pod
	// ports are what the ranks need of each other over TCP.
	ports []netpol.PortRange
	dns   []netpol.Pod
	// dnsAssumed: no DNS pod was seen, dns is one with the usual labels.
	dnsAssumed bool
	// dnsProblem says why the DNS side is not fully known; "" when it is.
	dnsProblem string
}

// readTraffic asks the cluster for the policies and the pods.
func (h *Hands) readTraffic(ctx context.Context, workload incident.Workload) (traffic, error) {
	namespace := workload.Target.Namespace
	policies, err := h.networkPolicies(ctx, namespace)
	if err != nil {
		return traffic{}, err
	}
	seen := traffic{policies: policies}
	labels, err := h.namespaceLabels(ctx, namespace, policies)
	if err != nil {
		return traffic{}, err
	}
	if seen.live, err = h.rankPods(ctx, workload); err != nil {
		return traffic{}, err
	}
	seen.ranks = policyPods(workload, seen.live, labels)
	seen.ports = netpol.Merge(append(masterPorts(seen.live), ephemeral))
	seen.policies = append(seen.policies, h.readDNS(ctx, namespace, &seen)...)
	if seen.set, err = netpol.Compile(seen.policies); err != nil {
		return traffic{}, incident.Faultf(incident.Invalid, err, "reading the policies of namespace %s", namespace)
	}
	return seen, nil
}

func (h *Hands) networkPolicies(ctx context.Context, namespace string) ([]networkingv1.NetworkPolicy, error) {
	var policies []networkingv1.NetworkPolicy
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.NetworkingV1().NetworkPolicies(namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing networkpolicies of namespace %s", namespace)
		}
		policies = append(policies, page.Items...)
		return page.Continue, nil
	})
	return policies, err
}

// namespaceLabels reads a namespace's labels. Where that is forbidden the
// name, which is a label too, is enough unless a policy asks for another.
func (h *Hands) namespaceLabels(ctx context.Context, name string, policies []networkingv1.NetworkPolicy) (map[string]string, error) {
	namespace, err := h.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return namespace.Labels, nil
	}
	if asksForLabels(policies) {
		return nil, classify(err, "reading the labels of namespace %s, for which its policies ask", name)
	}
	return map[string]string{corev1.LabelMetadataName: name}, nil
}

func asksForLabels(policies []networkingv1.NetworkPolicy) bool {
	asks := func(selector *metav1.LabelSelector) bool {
		if selector == nil {
			return false
		}
		for key := range selector.MatchLabels {
			if key != corev1.LabelMetadataName {
				return true
			}
		}
		return slices.ContainsFunc(selector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
			return e.Key != corev1.LabelMetadataName
		})
	}
	for _, policy := range policies {
		for _, rule := range policy.Spec.Ingress {
			if slices.ContainsFunc(rule.From, func(p networkingv1.NetworkPolicyPeer) bool { return asks(p.NamespaceSelector) }) {
				return true
			}
		}
		for _, rule := range policy.Spec.Egress {
			if slices.ContainsFunc(rule.To, func(p networkingv1.NetworkPolicyPeer) bool { return asks(p.NamespaceSelector) }) {
				return true
			}
		}
	}
	return false
}

// rankPods reads the pods of the workload's ranks that still exist.
func (h *Hands) rankPods(ctx context.Context, workload incident.Workload) ([]corev1.Pod, error) {
	wanted := make(map[string]bool, len(workload.Ranks))
	for _, rank := range workload.Ranks {
		wanted[rank.Pod] = true
	}
	var pods []corev1.Pod
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := h.Kube.CoreV1().Pods(workload.Target.Namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing pods of namespace %s", workload.Target.Namespace)
		}
		for _, pod := range page.Items {
			if wanted[pod.Name] {
				pods = append(pods, pod)
			}
		}
		return page.Continue, nil
	})
	return pods, err
}

// policyPods are the ranks as policies see them. A rank whose pod is gone is
// taken from the pod template's labels: its successor will carry them.
func policyPods(workload incident.Workload, live []corev1.Pod, namespaceLabels map[string]string) []netpol.Pod {
	byName := make(map[string]*corev1.Pod, len(live))
	for i := range live {
		byName[live[i].Name] = &live[i]
	}
	var pods []netpol.Pod
	for _, rank := range workload.Ranks {
		if pod := byName[rank.Pod]; pod != nil {
			pods = append(pods, policyPod(pod, namespaceLabels))
			continue
		}
		pods = append(pods, templatePod(workload, rank.Pod, firstOf(workload.JobNames), namespaceLabels))
	}
	for i := len(pods); i < workload.WantedRanks; i++ {
		pods = append(pods, templatePod(workload, fmt.Sprintf("%s-%d", workload.Target.Name, i), firstOf(workload.JobNames), namespaceLabels))
	}
	return pods
}

func policyPod(pod *corev1.Pod, namespaceLabels map[string]string) netpol.Pod {
	address, _ := netip.ParseAddr(pod.Status.PodIP) // none yet: stays invalid
	seen := netpol.Pod{Namespace: pod.Namespace, NamespaceLabels: namespaceLabels, Name: pod.Name, Labels: pod.Labels,
		IP: address, HostNetwork: pod.Spec.HostNetwork}
	for _, container := range pod.Spec.Containers {
		seen.Ports = append(seen.Ports, container.Ports...)
	}
	return seen
}

// templatePod is a pod of a job of the workload that does not exist (yet).
func templatePod(workload incident.Workload, name, job string, namespaceLabels map[string]string) netpol.Pod {
	pod := netpol.Pod{Namespace: workload.Target.Namespace, NamespaceLabels: namespaceLabels, Name: name, Labels: map[string]string{}}
	for key, value := range workload.PodLabels {
		pod.Labels[key] = value
	}
	if job != "" {
		pod.Labels[batchv1.JobNameLabel], pod.Labels["job-name"] = job, job
	}
	return pod
}

func firstOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// rendezvousFlag finds the port in torchrun's flags that name it.
var rendezvousFlag = regexp.MustCompile(`--(?:master[-_]port[= ]|rdzv[-_]endpoint[= ][^\s:]+:)(\d{1,5})`)

// masterPorts are the rendezvous ports that the pods name; a pod that names
// none leaves the choice to torchrun and is not guessed at.
func masterPorts(pods []corev1.Pod) []netpol.PortRange {
	var ports []netpol.PortRange
	add := func(text string) {
		if number, err := strconv.ParseUint(text, 10, 16); err == nil && number > 0 {
			ports = append(ports, netpol.PortRange{First: int32(number), Last: int32(number)})
		}
	}
	for _, pod := range pods {
		for _, container := range pod.Spec.Containers {
			for _, env := range container.Env {
				switch env.Name {
				case "MASTER_PORT", "PET_MASTER_PORT":
					add(env.Value)
				case "PET_RDZV_ENDPOINT":
					add(env.Value[strings.LastIndexByte(env.Value, ':')+1:])
				}
			}
			command := strings.Join(slices.Concat(container.Command, container.Args), " ")
			for _, found := range rendezvousFlag.FindAllStringSubmatch(command, -1) {
				add(found[1])
			}
		}
	}
	return netpol.Merge(ports)
}

// readDNS fills the DNS side and returns the policies of its namespace. What
// cannot be read there is noted, not fatal: the ranks' own egress decides
// most often.
func (h *Hands) readDNS(ctx context.Context, ranksNamespace string, seen *traffic) []networkingv1.NetworkPolicy {
	labels := map[string]string{corev1.LabelMetadataName: dnsNamespace}
	if namespace, err := h.Kube.CoreV1().Namespaces().Get(ctx, dnsNamespace, metav1.GetOptions{}); err == nil {
		labels = namespace.Labels
	} else if asksForLabels(seen.policies) {
		seen.dnsProblem = classify(err, "reading the labels of namespace %s", dnsNamespace).Error()
	}
	options := metav1.ListOptions{LabelSelector: dnsLabel + "=" + dnsLabelValue, Limit: pageSize}
	if pods, err := h.Kube.CoreV1().Pods(dnsNamespace).List(ctx, options); err == nil {
		for i := range pods.Items {
			seen.dns = append(seen.dns, policyPod(&pods.Items[i], labels))
		}
	}
	if len(seen.dns) == 0 {
		seen.dnsAssumed = true
		seen.dns = []netpol.Pod{{Namespace: dnsNamespace, NamespaceLabels: labels, Labels: map[string]string{dnsLabel: dnsLabelValue}}}
	}
	if ranksNamespace == dnsNamespace {
		return nil
	}
	policies, err := h.networkPolicies(ctx, dnsNamespace)
	if err != nil {
		h.Log.Warn("policies of the DNS namespace are not read", "namespace", dnsNamespace, "error", err)
	}
	return policies
}

// dnsPort is the container port behind the Service's port 53.
func dnsPort(pod netpol.Pod) int32 {
	for _, port := range pod.Ports {
		if port.Protocol == corev1.ProtocolUDP && strings.HasPrefix(port.Name, "dns") {
			return port.ContainerPort
		}
	}
	return 53
}

func (t traffic) betweenRanks() netpol.Survey {
	return t.set.Survey(t.ranks, corev1.ProtocolTCP, t.ports...)
}

func (t traffic) hostNetwork() bool {
	return slices.ContainsFunc(t.ranks, func(p netpol.Pod) bool { return p.HostNetwork })
}

// notes tells what the answer rests on besides live pods.
func (t traffic) notes() string {
	if missing := len(t.ranks) - len(t.live); missing > 0 {
		return fmt.Sprintf(" (%d of %d ranks have no pod now and were judged by the pod template's labels)", missing, len(t.ranks))
	}
	return ""
}

// pageSize bounds one answer of the API server.
const pageSize = 500

// eachPage calls list until it returns no token to continue with.
func eachPage(list func(metav1.ListOptions) (string, error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		token, err := list(options)
		if err != nil || token == "" {
			return err
		}
		options.Continue = token
	}
}
