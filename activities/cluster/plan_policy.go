package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gpumedic/activities/cluster/netpol"
	"gpumedic/incident"
	"gpumedic/steps"
)

// whyAllTCP is written on the policy, for whoever finds it.
const whyAllTCP = "NCCL takes ephemeral ports and has no port setting, so all TCP ports are open between these pods, and to nobody else"

// planJobTraffic plans a NetworkPolicy that lets the job's own pods reach
// each other. It adds one policy and touches none: policies only add up.
func (h *Hands) planJobTraffic(ctx context.Context, d *draft) error {
	seen, err := h.readTraffic(ctx, d.workload)
	if err != nil {
		return err
	}
	ingress, egress := blockedSides(seen.betweenRanks())
	if !ingress && !egress {
		d.refuse("no NetworkPolicy blocks traffic between the ranks for certain")
		return nil
	}
	selector, ok := d.jobSelector()
	if !ok {
		d.refuse("the pods of a %s do not all carry the label %s, so no policy can select them and the communication test's pods together", d.workload.Target.Kind, batchv1.JobNameLabel)
	}
	policy := d.jobPolicy(selector, ingress, egress)
	if err := d.provePolicy(seen, policy); err != nil {
		return err
	}
	return h.dryCreate(ctx, d, policy)
}

// blockedSides tells in which directions the ranks are blocked.
func blockedSides(survey netpol.Survey) (ingress, egress bool) {
	for _, group := range survey.Groups {
		if len(group.Blocked) > 0 {
			ingress = ingress || len(group.Reason.Ingress) > 0
			egress = egress || len(group.Reason.Egress) > 0
		}
	}
	return ingress, egress
}

// jobSelector selects the ranks and the test's pods by the label that the Job
// controller puts on them; false for kinds whose pods lack it, with the
// selector that would stand for their ranks.
func (d *draft) jobSelector() (metav1.LabelSelector, bool) {
	how := suspendables[d.workload.Target.Kind]
	key, names := batchv1.JobNameLabel, union(d.workload.JobNames, d.params.TestJobs)
	ok := how.jobNames && len(d.workload.JobNames) > 0
	if !ok && how.podLabel != "" {
		key, names = how.podLabel, []string{d.workload.Target.Name}
	}
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: key, Operator: metav1.LabelSelectorOpIn, Values: names}}}, ok
}

// jobPolicy is the narrow policy: the selected pods among themselves, over
// TCP, and only in the directions that are blocked now.
func (d *draft) jobPolicy(selector metav1.LabelSelector, ingress, egress bool) *networkingv1.NetworkPolicy {
	tcp := corev1.ProtocolTCP
	peers := []networkingv1.NetworkPolicyPeer{{PodSelector: &selector}}
	ports := []networkingv1.NetworkPolicyPort{{Protocol: &tcp}}
	policy := &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: policyName(d.workload), Namespace: d.workload.Target.Namespace,
			Labels:      map[string]string{steps.OwnerLabel: steps.OwnerValue(d.params.Incident), "app.kubernetes.io/managed-by": steps.FieldManager},
			Annotations: map[string]string{"gpumedic.io/incident-id": d.params.Incident, "gpumedic.io/target": d.workload.Target.String(), "gpumedic.io/why": whyAllTCP}},
		Spec: networkingv1.NetworkPolicySpec{PodSelector: selector},
	}
	if ingress {
		policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}}
	}
	if egress {
		policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		policy.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: peers, Ports: ports}}
	}
	return policy
}

// policyName is stable for one workload and other for one created anew.
func policyName(workload incident.Workload) string {
	sum := sha256.Sum256([]byte(workload.Target.ID() + "/" + workload.UID))
	name := workload.Target.Name
	const room = 63 - len("gpumedic-allow--000000")
	if len(name) > room {
		name = strings.TrimRight(name[:room], "-.")
	}
	return "gpumedic-allow-" + name + "-" + hex.EncodeToString(sum[:3])
}

// dnsRule lets the selected pods ask the cluster's DNS.
func dnsRule() networkingv1.NetworkPolicyEgressRule {
	udp, tcp, port := corev1.ProtocolUDP, corev1.ProtocolTCP, intstr.FromInt32(53)
	return networkingv1.NetworkPolicyEgressRule{
		To: []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: dnsNamespace}},
			PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{dnsLabel: dnsLabelValue}}}},
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &port}, {Protocol: &tcp, Port: &port}},
	}
}

// provePolicy evaluates what the policies would do with the new one among
// them: it must open every pair, and must not close anything to a rank that
// no policy isolates today. The rule for DNS is added only where needed.
func (d *draft) provePolicy(seen traffic, policy *networkingv1.NetworkPolicy) error {
	for _, kind := range policy.Spec.PolicyTypes {
		if free := newlyIsolated(seen, kind); free != "" {
			d.refuse("rank %s is free in %s today and the new policy would close all else to it: change the blocking policy instead", free, strings.ToLower(string(kind)))
		}
	}
	pods := append(slices.Clone(seen.ranks), d.testPods(seen)...)
	set, err := seen.with(policy)
	if err != nil {
		return err
	}
	if blocked, _, _ := seen.toDNS(set, pods); blocked > 0 && slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		policy.Spec.Egress = append(policy.Spec.Egress, dnsRule())
		if set, err = seen.with(policy); err != nil {
			return err
		}
	}
	all := netpol.PortRange{First: 1, Last: 65535}
	if after := set.Survey(pods, corev1.ProtocolTCP, all); after.Blocked+after.Unknown > 0 {
		d.refuse("even with the new policy %d of %d directions would not be open for certain", after.Blocked+after.Unknown, after.Directions)
	}
	return nil
}

// with compiles the policies and one more.
func (t traffic) with(policy *networkingv1.NetworkPolicy) (*netpol.Set, error) {
	set, err := netpol.Compile(append(slices.Clone(t.policies), *policy))
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "evaluating the planned policy %s", policy.Name)
	}
	return set, nil
}

// newlyIsolated names a rank that no policy isolates in one direction.
func newlyIsolated(seen traffic, kind networkingv1.PolicyType) string {
	for _, rank := range seen.ranks {
		ingress, egress := seen.set.Isolated(rank)
		if kind == networkingv1.PolicyTypeIngress && len(ingress) == 0 || kind == networkingv1.PolicyTypeEgress && len(egress) == 0 {
			return rank.Name
		}
	}
	return ""
}

// testPods are two pods of each test job that is to come.
func (d *draft) testPods(seen traffic) []netpol.Pod {
	labels := map[string]string{corev1.LabelMetadataName: d.workload.Target.Namespace}
	if len(seen.ranks) > 0 {
		labels = seen.ranks[0].NamespaceLabels
	}
	var pods []netpol.Pod
	for _, job := range d.params.TestJobs {
		for _, suffix := range []string{"-0", "-1"} {
			pods = append(pods, templatePod(d.workload, job+suffix, job, labels))
		}
	}
	return pods
}

// dryCreate asks the API server what it would make of the policy, and fills
// the plan from its answer.
func (h *Hands) dryCreate(ctx context.Context, d *draft, policy *networkingv1.NetworkPolicy) error {
	manifest, err := plainManifest(policy)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding networkpolicy %s", policy.Name)
	}
	change := incident.ObjectChange{Verb: verbCreate, APIVersion: policy.APIVersion, Kind: policy.Kind, Namespace: policy.Namespace, Name: policy.Name}
	if change.Manifest, err = json.Marshal(manifest); err != nil {
		return incident.Faultf(incident.Internal, err, "encoding networkpolicy %s", policy.Name)
	}
	answer := manifest
	client, err := h.objectClient(change)
	if err != nil {
		return err
	}
	object, err := client.Create(ctx, &unstructured.Unstructured{Object: manifest}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
	switch {
	case err == nil:
		answer = object.Object
	case apierrors.IsAlreadyExists(err):
		d.refuse("networkpolicy %s exists already, left by an earlier incident or made by somebody else", policy.Name)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse it: %v", err)
	default:
		return classify(err, "dry run of creating networkpolicy %s/%s", policy.Namespace, policy.Name)
	}
	diff, err := unifiedDiff("networkpolicy "+policy.Namespace+"/"+policy.Name, nil, answer)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "showing networkpolicy %s", policy.Name)
	}
	d.plan.Diff, d.plan.Changes = diff, []incident.ObjectChange{change}
	d.plan.Wanted = incident.Wanted{Transport: wantedTransport(requestedRDMA(d.live.Object, d.params.Fabric.RDMAResources), d.workload.Nodes), CommTest: true}
	d.plan.Summary = "Create NetworkPolicy " + policy.Name + " so that the pods of " + strings.Join(d.workload.JobNames, ", ") +
		" and of its communication test reach each other over TCP, " + d.priceWords() + "."
	return nil
}
