package cluster

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/steps"
)

// actors are the marks by which other controllers show that they act on a
// node: keys of taints, labels and annotations, and whose they are.
var actors = map[string]string{
	// Kubernetes itself: a node that an operator declared dead, or that its
	// cloud is shutting down (pkg/apis/core/v1/well_known_taints.go of v1.34).
	"node.kubernetes.io/out-of-service":         "an operator declared the node out of service",
	"node.cloudprovider.kubernetes.io/shutdown": "the cloud shuts it down",
	// Cluster Autoscaler and Karpenter, while they remove a node.
	"ToBeDeletedByClusterAutoscaler": "Cluster Autoscaler removes it",
	"karpenter.sh/disrupted":         "Karpenter removes it",
	"karpenter.sh/disruption":        "Karpenter removes it",
	// NVSentinel, from the quarantine to the end of the repair.
	"dgxc.nvidia.com/nvsentinel-state": "NVSentinel repairs it",
	"quarantineHealthEvent":            "NVSentinel repairs it",
	// GKE and the AWS node termination handler, before a node goes.
	"cloud.google.com/impending-node-termination":        "GKE takes it away",
	"aws-node-termination-handler/spot-itn":              "AWS takes it away",
	"aws-node-termination-handler/scheduled-maintenance": "AWS maintains it",
}

// healthy are the values of marks that stay on a node after the work is done.
var healthy = map[string][]string{"dgxc.nvidia.com/nvsentinel-state": {"remediation-succeeded"}}

// actedOn says who else acts on a node; nothing when nobody does. A cordon
// without our taint is somebody's, and so is any work of a controller that
// leaves a mark: two repairmen at one machine are one too many.
func actedOn(node *unstructured.Unstructured) []string {
	var found []string
	taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints") // the API server's own form
	ours := false
	for _, taint := range taints {
		fields, _ := taint.(map[string]any)
		key, _ := fields["key"].(string)
		ours = ours || key == steps.IsolatedTaint
		if who := actors[key]; who != "" {
			found = append(found, fmt.Sprintf("%s (taint %s)", who, key))
		}
	}
	for _, marks := range []map[string]string{node.GetLabels(), node.GetAnnotations()} {
		for key, value := range marks {
			if who := actors[key]; who != "" && !slices.Contains(healthy[key], value) {
				found = append(found, fmt.Sprintf("%s (%s=%s)", who, key, shortened(value)))
			}
		}
	}
	if cordoned, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable"); cordoned && !ours {
		found = append(found, "somebody else has cordoned it")
	}
	if node.GetDeletionTimestamp() != nil {
		found = append(found, "it is being deleted")
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func shortened(text string) string {
	const room = 40
	if len(text) > room {
		return text[:room] + "..."
	}
	return text
}

// protectedBy says why nobody may take a node out of service; "" when it may
// be.
func protectedBy(node corev1.Node) string {
	for _, marks := range []map[string]string{node.Labels, node.Annotations} {
		if _, marked := marks[steps.ProtectedMark]; marked {
			return fmt.Sprintf("node %s is protected (%s)", node.Name, steps.ProtectedMark)
		}
	}
	for key := range node.Labels {
		if key == "node-role.kubernetes.io/control-plane" || key == "node-role.kubernetes.io/master" || strings.HasPrefix(key, "node-role.kubernetes.io/etcd") {
			return fmt.Sprintf("node %s is of the control plane (%s)", node.Name, key)
		}
	}
	return ""
}
