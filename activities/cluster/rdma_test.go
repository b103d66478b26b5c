package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
)

func privileged(pod *corev1.Pod) {
	yes := true
	trainerOf(pod).SecurityContext = &corev1.SecurityContext{Privileged: &yes}
}

func TestRDMARequested(t *testing.T) {
	template := func(change func(*corev1.Pod)) *runtime.Object {
		job := testJob(2)
		pod := testPod(0, "")
		change(pod)
		job.Spec.Template.Spec = pod.Spec
		var object runtime.Object = job
		return &object
	}
	for name, test := range map[string]struct {
		objects []runtime.Object
		state   incident.State
		value   string
		why     string
	}{
		"all request it":        {gang(4), incident.No, "0 of 4 ranks", "request rdma/hca_shared_devices_a"},
		"none requests it":      {gang(4, withoutRDMA), incident.Yes, "4 of 4 ranks", "silently uses TCP"},
		"one does not":          {ranksThat(nil, nil, withoutRDMA, nil), incident.Yes, "1 of 4 ranks", "1 of 4 ranks"},
		"privileged containers": {gang(4, both(withoutRDMA, privileged)), incident.Unknown, "0 of 4 ranks", "privileged"},
		"resource claims": {gang(4, both(withoutRDMA, func(pod *corev1.Pod) { pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "nic"}} })),
			incident.Unknown, "0 of 4 ranks", "resource claims"},
		"no pods, template with it":    {[]runtime.Object{testJob(2)}, incident.No, "pod template", "requests rdma/hca_shared_devices_a"},
		"no pods, template without it": {[]runtime.Object{*template(withoutRDMA)}, incident.Yes, "pod template", "requests no RDMA device"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			got := only(t, w.checked(t, w.CheckRDMA), incident.RDMANotRequested)
			if got.State != test.state || got.Value != test.value || got.Subject != "job/llama-70b" {
				t.Errorf("%+v", got)
			}
			contains(t, got.Why, test.why)
		})
	}
}

func TestRDMAOffered(t *testing.T) {
	plain := func(node *corev1.Node) { delete(node.Status.Allocatable, "rdma/hca_shared_devices_a") }
	for name, test := range map[string]struct {
		nodes  []runtime.Object
		change func(*world)
		state  incident.State
		value  string
		why    string
	}{
		"all offer it":    {nodes: []runtime.Object{testNode(0), testNode(1)}, state: incident.Yes, value: "rdma/hca_shared_devices_a", why: "2 of 2 nodes"},
		"one offers it":   {nodes: []runtime.Object{testNode(0), testNode(1, plain)}, state: incident.Yes, value: "rdma/hca_shared_devices_a", why: "1 of 2 nodes"},
		"none offers it":  {nodes: []runtime.Object{testNode(0, plain), testNode(1, plain)}, state: incident.No, why: "none of the 2 nodes"},
		"one is gone":     {nodes: []runtime.Object{testNode(0, plain)}, state: incident.Unknown, why: "1 of 2 nodes could not be read"},
		"may not be read": {nodes: []runtime.Object{testNode(0), testNode(1)}, change: func(w *world) { w.refuse("get", "nodes", "") }, state: incident.Unknown, why: `resources ["nodes"]`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(test.nodes, testJob(2), testPod(0, ""), testPod(1, ""))...)
			if test.change != nil {
				test.change(w)
			}
			got := only(t, w.checked(t, w.CheckRDMA), incident.RDMAOffered)
			if got.State != test.state || got.Value != test.value {
				t.Errorf("%+v", got)
			}
			contains(t, got.Why, test.why)
		})
	}
}

func TestInterfaceMissing(t *testing.T) {
	multus := func(pod *corev1.Pod) {
		pod.Annotations[networkStatus] = `[{"name":"cbr0","interface":"eth0"},{"name":"training/roce","interface":"net1"}]`
	}
	hostNetwork := func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }
	for name, test := range map[string]struct {
		option func(*corev1.Pod)
		state  incident.State
		value  string
		why    string
	}{
		"not set":              {nil, incident.No, "", "NCCL chooses"},
		"there":                {withEnv("NCCL_SOCKET_IFNAME", "eth0"), incident.No, "eth0", "names eth0"},
		"a prefix":             {withEnv("NCCL_SOCKET_IFNAME", "ib,eth"), incident.No, "ib,eth", "names eth0"},
		"not there":            {withEnv("NCCL_SOCKET_IFNAME", "ib0"), incident.Yes, "ib0", "the pods have eth0"},
		"exactly another":      {withEnv("NCCL_SOCKET_IFNAME", "=eth"), incident.Yes, "=eth", "the pods have eth0"},
		"all excluded":         {withEnv("NCCL_SOCKET_IFNAME", "^eth,lo"), incident.Yes, "^eth,lo", "the pods have eth0"},
		"another one excluded": {withEnv("NCCL_SOCKET_IFNAME", "^docker"), incident.No, "^docker", "names eth0"},
		"only the loopback":    {withEnv("NCCL_SOCKET_IFNAME", "lo"), incident.Yes, "lo", "over which another node can be reached"},
		"a second network":     {both(multus, withEnv("NCCL_SOCKET_IFNAME", "net1")), incident.No, "net1", "names net1"},
		"the node's network":   {both(hostNetwork, withEnv("NCCL_SOCKET_IFNAME", "bond0")), incident.Unknown, "bond0", "interfaces of the node"},
		"from a secret": {envValueFrom("NCCL_SOCKET_IFNAME", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "k"}}}),
			incident.Unknown, "", "never read"},
	} {
		t.Run(name, func(t *testing.T) {
			options := []func(*corev1.Pod){}
			if test.option != nil {
				options = append(options, test.option)
			}
			w := newWorld(t, gang(3, options...)...)
			got := only(t, w.checked(t, w.CheckRDMA), incident.InterfaceMissing)
			if got.State != test.state || got.Value != test.value || got.Subject != "env/NCCL_SOCKET_IFNAME" {
				t.Errorf("%+v", got)
			}
			contains(t, got.Why, "on 3 of 3 ranks", test.why)
		})
	}
}

func TestInterfaceMissingOnSomeRanks(t *testing.T) {
	w := newWorld(t, ranksThat(nil, withEnv("NCCL_SOCKET_IFNAME", "ib0"), nil)...)
	var got []string
	for _, finding := range all(w.checked(t, w.CheckRDMA), incident.InterfaceMissing) {
		got = append(got, string(finding.State)+" "+finding.Why[:14])
	}
	if diff := cmp.Diff([]string{"no on 2 of 3 rank", "yes on 1 of 3 rank"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
