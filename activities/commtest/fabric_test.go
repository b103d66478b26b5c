package commtest

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"gpumedic/incident"
	"gpumedic/steps"
)

func TestFabricDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		settings  incident.CommTestSettings
		resources map[string]string
		env       map[string]string
		wrong     bool
	}{
		"nothing assumed":          {incident.CommTestSettings{}, nil, nil, false},
		"infiniband":               {incident.CommTestSettings{Fabric: "infiniband"}, map[string]string{rdmaName: "1"}, map[string]string{"NCCL_NET": "IB"}, false},
		"the site's own device":    {incident.CommTestSettings{Fabric: "infiniband", Resources: map[string]string{"nvidia.com/hostdev": "8"}}, map[string]string{"nvidia.com/hostdev": "8"}, map[string]string{"NCCL_NET": "IB"}, false},
		"the site's own transport": {incident.CommTestSettings{Fabric: "infiniband", Env: map[string]string{"NCCL_NET": "IBext_v10"}}, map[string]string{rdmaName: "1"}, map[string]string{"NCCL_NET": "IBext_v10"}, false},
		"roce without an address":  {incident.CommTestSettings{Fabric: "roce"}, map[string]string{rdmaName: "1"}, map[string]string{"NCCL_NET": "IB"}, true},
		"roce":                     {incident.CommTestSettings{Fabric: "roce", Networks: []string{"fabric/rail-0"}}, map[string]string{rdmaName: "1"}, map[string]string{"NCCL_NET": "IB"}, false},
		"efa without a number":     {incident.CommTestSettings{Fabric: "efa"}, map[string]string{hugePages: "5120Mi"}, map[string]string{"FI_PROVIDER": "efa"}, true},
		"efa": {incident.CommTestSettings{Fabric: "efa", Resources: map[string]string{"vpc.amazonaws.com/efa": "32"}},
			map[string]string{hugePages: "5120Mi", "vpc.amazonaws.com/efa": "32"}, map[string]string{"FI_PROVIDER": "efa"}, false},
		"tcp":             {incident.CommTestSettings{Fabric: "tcp"}, nil, map[string]string{"NCCL_NET": "Socket"}, false},
		"unknown":         {incident.CommTestSettings{Fabric: "slingshot"}, nil, nil, true},
		"bad network":     {incident.CommTestSettings{Networks: []string{"rail-0"}}, nil, nil, true},
		"bad shared size": {incident.CommTestSettings{SharedMemory: "16 GB"}, nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := maps.Clone(c.settings.Resources)
			got := settled(c.settings)
			if diff := cmp.Diff(c.resources, got.Resources); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.env, got.Env); diff != "" {
				t.Errorf("env (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, c.settings.Resources); diff != "" {
				t.Errorf("the caller's settings were changed:\n%s", diff)
			}
			if problems := validateFabric(got); (len(problems) > 0) != c.wrong {
				t.Errorf("problems %v, want some: %v", problems, c.wrong)
			}
		})
	}
}

// manifestOf is what RunCommTest would create for the settings.
func manifestOf(change func(*incident.CommTestSettings)) corev1.PodTemplateSpec {
	p := params()
	p.Settings.Resources = nil
	change(&p.Settings)
	p.Settings = settled(p.Settings)
	return jobFor(p, "").Spec.Template
}

func TestPodsOfAFabric(t *testing.T) {
	pod := manifestOf(func(s *incident.CommTestSettings) {
		s.Fabric, s.Networks, s.SharedMemory = "efa", []string{"fabric/rail-0", "fabric/rail-1"}, "16Gi"
		s.Resources = map[string]string{"vpc.amazonaws.com/efa": "32"}
	})
	if got := pod.Annotations[networksAnnotation]; got != "fabric/rail-0,fabric/rail-1" {
		t.Errorf("networks %q", got)
	}
	main := pod.Spec.Containers[0]
	if _, limited := main.Resources.Limits[corev1.ResourceCPU]; limited || main.Resources.Requests.Cpu().IsZero() {
		t.Errorf("huge pages need a request of CPU, and no limit: %+v", main.Resources)
	}
	if main.Resources.Limits[hugePages] != main.Resources.Requests[hugePages] || main.Resources.Limits.Name(hugePages, resource.BinarySI).IsZero() {
		t.Errorf("huge pages %+v", main.Resources)
	}
	if len(main.SecurityContext.Capabilities.Add) != 1 {
		t.Error("RDMA without IPC_LOCK")
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == "shm" && (volume.EmptyDir.Medium != corev1.StorageMediumMemory || volume.EmptyDir.SizeLimit.String() != "16Gi") {
			t.Errorf("shared memory %+v", volume.EmptyDir)
		}
	}
	plain := manifestOf(func(s *incident.CommTestSettings) { s.Fabric, s.HostNetwork = "tcp", true })
	if len(plain.Annotations) > 0 || len(plain.Spec.Containers[0].SecurityContext.Capabilities.Add) > 0 {
		t.Errorf("a test over TCP asks for %v and %v", plain.Annotations, plain.Spec.Containers[0].SecurityContext.Capabilities.Add)
	}
	if !plain.Spec.HostNetwork || plain.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
		t.Errorf("host network %v, DNS policy %s", plain.Spec.HostNetwork, plain.Spec.DNSPolicy)
	}
}

// TestOffFabric: right data over the wrong network is no pass.
func TestOffFabric(t *testing.T) {
	for name, c := range map[string]struct {
		fabric, transport string
		want              incident.TestResult
	}{
		"infiniband over IB":      {"infiniband", "NET/IB", incident.TestPass},
		"infiniband over sockets": {"infiniband", "NET/Socket", incident.TestFail},
		"efa over the plugin":     {"efa", "NET/AWS Libfabric", incident.TestPass},
		"nothing assumed":         {"", "NET/Socket", incident.TestPass},
		"tcp":                     {"tcp", "NET/Socket", incident.TestPass},
	} {
		t.Run(name, func(t *testing.T) {
			r := healthy(t, 3)
			r.want.Fabric = c.fabric
			for rank := range r.logs {
				r.replace(t, rank, "NET/IB", c.transport)
			}
			got := Parse(r.logs, r.want)
			if got.Result != c.want {
				t.Errorf("got %s: %s", got.Result, got.Why)
			}
			if c.want == incident.TestFail {
				contains(t, got.Why, "NCCL used Socket, not IB: the pods do not reach the infiniband fabric")
			}
		})
	}
}

func TestExpectationFollowsTheGroup(t *testing.T) {
	p := params()
	p.Settings.ExpectedBusBWGBps, p.Settings.LocalBusBWGBps = 370, 450
	one := p
	one.Group.Nodes = p.Group.Nodes[:1]
	for want, given := range map[float64]steps.RunCommTestParams{370: p, 450: one} {
		if got := wantOf(given).ExpectedGBps; got != want {
			t.Errorf("%d nodes: expected %v, want %v", len(given.Group.Nodes), got, want)
		}
	}
}
