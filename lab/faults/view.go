package faults

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	netlisters "k8s.io/client-go/listers/networking/v1"

	"gpumedic/lab/faults/policy"
	"gpumedic/lab/kubelet"
)

// view is the cluster as the watches show it.
type view struct {
	factory    informers.SharedInformerFactory
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	services   corelisters.ServiceLister
	policies   netlisters.NetworkPolicyLister
	nodes      corelisters.NodeLister
	claims     corelisters.PersistentVolumeClaimLister
}

func newView(f informers.SharedInformerFactory) *view {
	return &view{
		factory:    f,
		pods:       f.Core().V1().Pods().Lister(),
		namespaces: f.Core().V1().Namespaces().Lister(),
		services:   f.Core().V1().Services().Lister(),
		policies:   f.Networking().V1().NetworkPolicies().Lister(),
		nodes:      f.Core().V1().Nodes().Lister(),
		claims:     f.Core().V1().PersistentVolumeClaims().Lister(),
	}
}

// addressPoll is how often a pod is asked whether it has its address: the
// kubelet writes it about when it starts the containers.
const addressPoll = 20 * time.Millisecond

// addressed waits until the pod has its address.
func (v *view) addressed(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	for {
		if now, err := v.pods.Pods(pod.Namespace).Get(pod.Name); err == nil && now.UID == pod.UID && now.Status.PodIP != "" {
			return now, nil
		}
		if !pause(ctx, addressPoll) {
			return nil, fmt.Errorf("wait for the address of pod %s/%s: %w", pod.Namespace, pod.Name, ctx.Err())
		}
	}
}

// runs says whether a pod is still there and is not on its way out.
func (v *view) runs(pod *corev1.Pod) bool {
	now, err := v.pods.Pods(pod.Namespace).Get(pod.Name)
	return err == nil && now.UID == pod.UID && now.DeletionTimestamp == nil && !over(now)
}

// endpoint is a pod as policies see it.
func (v *view) endpoint(pod *corev1.Pod) policy.Endpoint {
	e := policy.Endpoint{
		Namespace: pod.Namespace, NamespaceLabels: v.namespaceLabels(pod.Namespace), Labels: pod.Labels,
		Node: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork,
	}
	if addr, err := netip.ParseAddr(pod.Status.PodIP); err == nil {
		e.Addr = addr
	}
	for _, c := range pod.Spec.Containers {
		e.Ports = append(e.Ports, c.Ports...)
	}
	return e
}

// namespaceLabels carries the name even before the watch has the object, as
// the API server sets it on every namespace.
func (v *view) namespaceLabels(name string) map[string]string {
	if ns, err := v.namespaces.Get(name); err == nil {
		return ns.Labels
	}
	return map[string]string{corev1.LabelMetadataName: name}
}

// leaf is the leaf switch of a node, "" when it has none or is not known.
func (v *view) leaf(node string) string {
	n, err := v.nodes.Get(node)
	if err != nil {
		return ""
	}
	return n.Labels[kubelet.LeafLabel]
}

// product is a node's GPU product as the GPU operator labels it, "" when it has
// none or is not known.
func (v *view) product(node string) string {
	n, err := v.nodes.Get(node)
	if err != nil {
		return ""
	}
	return n.Labels[productLabel]
}

const productLabel = "nvidia.com/gpu.product"

// class is the storage class of a claim, "" when it has none or is not known.
func (v *view) class(namespace, name string) string {
	claim, err := v.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || claim.Spec.StorageClassName == nil {
		return ""
	}
	return *claim.Spec.StorageClassName
}

// volume is the name of a claim's volume, the claim's own while it has none.
func (v *view) volume(namespace, name string) string {
	claim, err := v.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || claim.Spec.VolumeName == "" {
		return name
	}
	return claim.Spec.VolumeName
}

// dnsServers are the pods that answer names. A cluster without any, like the
// lab, has its DNS elsewhere: it is taken for a pod with the usual labels,
// because those are what policies name.
func (v *view) dnsServers() []policy.Endpoint {
	var servers []policy.Endpoint
	selector := labels.SelectorFromSet(labels.Set{"k8s-app": "kube-dns"})
	if pods, err := v.pods.Pods("kube-system").List(selector); err == nil {
		for _, pod := range pods {
			servers = append(servers, v.endpoint(pod))
		}
	}
	if len(servers) > 0 {
		return servers
	}
	return []policy.Endpoint{{
		Namespace: "kube-system", NamespaceLabels: v.namespaceLabels("kube-system"),
		Labels: map[string]string{"k8s-app": "kube-dns"}, Addr: netip.AddrFrom4([4]byte{10, 96, 0, 10}),
	}}
}

// named finds the pod behind host.service[.namespace...]: a headless Service
// must select it, and publish it before it is ready.
func (v *view) named(namespace, host, service string) (*corev1.Pod, bool) {
	svc, err := v.services.Services(namespace).Get(service)
	if err != nil || svc.Spec.ClusterIP != corev1.ClusterIPNone || len(svc.Spec.Selector) == 0 {
		return nil, false
	}
	pods, err := v.pods.Pods(namespace).List(labels.SelectorFromSet(svc.Spec.Selector))
	if err != nil {
		return nil, false
	}
	for _, pod := range pods {
		published := svc.Spec.PublishNotReadyAddresses || ready(pod)
		if hostname(pod) == host && pod.Spec.Subdomain == service && pod.Status.PodIP != "" && pod.DeletionTimestamp == nil && !over(pod) && published {
			return pod, true
		}
	}
	return nil, false
}

func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func hostname(pod *corev1.Pod) string {
	if pod.Spec.Hostname != "" {
		return pod.Spec.Hostname
	}
	return pod.Name
}

func jobName(pod *corev1.Pod) string { return pod.Labels[batchv1.JobNameLabel] }
