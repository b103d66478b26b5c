package cluster

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"gpumedic/incident"
	"gpumedic/steps"
)

// foreignResources are policies of network plugins, by API group, that allow
// or block traffic beside NetworkPolicy and that we do not evaluate.
var foreignResources = map[string][]string{
	"cilium.io":                {"ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"},
	"crd.projectcalico.org":    {"networkpolicies", "globalnetworkpolicies"},
	"projectcalico.org":        {"networkpolicies", "globalnetworkpolicies"},
	"policy.networking.k8s.io": {"adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"},
}

// foreignPolicies adds an unknown finding for each kind of policy that has a
// say in the namespace and was not evaluated.
func (h *Hands) foreignPolicies(ctx context.Context, namespace string) []incident.Finding {
	groups, err := h.Kube.Discovery().ServerGroups()
	if err != nil {
		return []incident.Finding{foreignFinding("apigroups/*", classify(err, "asking which policy APIs the cluster has").Error())}
	}
	var findings []incident.Finding
	for _, group := range groups.Groups {
		names := foreignResources[group.Name]
		if len(names) == 0 {
			continue
		}
		resources, err := h.Kube.Discovery().ServerResourcesForGroupVersion(group.PreferredVersion.GroupVersion)
		if err != nil {
			findings = append(findings, foreignFinding("apigroups/"+group.Name, classify(err, "asking for the resources of %s", group.Name).Error()))
			continue
		}
		for _, name := range names {
			findings = append(findings, h.foreignKind(ctx, resources, name, namespace)...)
		}
	}
	return findings
}

// foreignKind looks whether objects of one resource exist; none is no finding.
func (h *Hands) foreignKind(ctx context.Context, resources *metav1.APIResourceList, name, namespace string) []incident.Finding {
	version, err := schema.ParseGroupVersion(resources.GroupVersion)
	if err != nil {
		return []incident.Finding{foreignFinding("apigroups/"+resources.GroupVersion, err.Error())}
	}
	for _, resource := range resources.APIResources {
		if resource.Name != name {
			continue
		}
		subject := name + "." + version.Group
		var client dynamic.ResourceInterface = h.Dynamic.Resource(version.WithResource(name))
		if resource.Namespaced {
			client = h.Dynamic.Resource(version.WithResource(name)).Namespace(namespace)
		}
		list, err := client.List(ctx, metav1.ListOptions{Limit: pageSize})
		if err != nil {
			return []incident.Finding{foreignFinding(subject, classify(err, "listing %s", subject).Error())}
		}
		if count := ownPolicies(list.GetContinue(), list.Items, func(i int) string { return list.Items[i].GetName() }); count != "" {
			return []incident.Finding{foreignFinding(subject, fmt.Sprintf("%s %s exist and were not evaluated; they may block or allow more than NetworkPolicies do", count, subject))}
		}
	}
	return nil
}

// ownPolicies counts objects that are not Calico's mirror of NetworkPolicies,
// which carry the prefix "knp."; "" for none.
func ownPolicies[T any](more string, items []T, name func(int) string) string {
	count := 0
	for i := range items {
		if !strings.HasPrefix(name(i), "knp.") {
			count++
		}
	}
	switch {
	case count == 0 && more == "":
		return ""
	case more != "":
		return fmt.Sprintf("%d or more", count)
	default:
		return fmt.Sprint(count)
	}
}

func foreignFinding(subject, why string) incident.Finding {
	return incident.Finding{ID: incident.PolicyBlocksRanks, Check: steps.CheckPolicies, State: incident.Unknown, Subject: "customresource/" + subject, Why: why}
}
