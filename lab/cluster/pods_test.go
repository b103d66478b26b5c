package cluster_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/kubelet"
)

func TestNodesAreReadyAndSayThatTheyAreSimulated(t *testing.T) {
	nodes, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 16 {
		t.Fatalf("%d nodes, %v", len(nodes.Items), err)
	}
	places := map[string]int{}
	for _, node := range nodes.Items {
		places[node.Labels[kubelet.LeafLabel]]++
		places[node.Labels[kubelet.RackLabel]]++
		gpus, hcas := node.Status.Allocatable["nvidia.com/gpu"], node.Status.Allocatable["rdma/hca_shared_devices_a"]
		if node.Annotations[kubelet.SimulatedAnnotation] != "true" || gpus.Value() != 8 || hcas.Value() != 63 || len(node.Spec.Taints) != 0 {
			t.Errorf("%s: annotations %v, %v GPUs, %v HCAs, taints %v", node.Name, node.Annotations, gpus.Value(), hcas.Value(), node.Spec.Taints)
		}
		ready := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		if ready < 0 || node.Status.Conditions[ready].Status != corev1.ConditionTrue {
			t.Errorf("%s is not ready: %v", node.Name, node.Status.Conditions)
		}
	}
	if places["leaf-a"] != 8 || places["leaf-b"] != 8 || places["rack-4"] != 4 {
		t.Errorf("places %v", places)
	}
}

func TestIndexedJobCompletes(t *testing.T) {
	create(t, job("plain", "plain", 16, corev1.RestartPolicyNever))
	eventually(t, "the job succeeds", func() bool {
		j, err := admin.BatchV1().Jobs("default").Get(t.Context(), "plain", metav1.GetOptions{})
		return err == nil && j.Status.Succeeded == 16 && j.Status.CompletedIndexes == "0-15"
	})
	for _, pod := range podsOf(t, "plain") {
		done := pod.Status.ContainerStatuses[0].State.Terminated
		if done == nil || done.Reason != "Completed" || done.ExitCode != 0 || done.StartedAt.IsZero() || done.FinishedAt.IsZero() || done.ContainerID == "" {
			t.Errorf("%s ended as %+v", pod.Name, done)
		}
		if pod.Status.PodIP == "" || pod.Status.StartTime == nil {
			t.Errorf("%s: address %q, started %v", pod.Name, pod.Status.PodIP, pod.Status.StartTime)
		}
	}
}

func TestOutOfMemoryIsVisible(t *testing.T) {
	create(t, job("greedy", "greedy", 1, corev1.RestartPolicyOnFailure))
	var status corev1.ContainerStatus
	eventually(t, "OOMKilled as last state, waiting to be started again", func() bool {
		pods := podsOf(t, "greedy")
		if len(pods) != 1 || len(pods[0].Status.ContainerStatuses) != 1 {
			return false
		}
		status = pods[0].Status.ContainerStatuses[0]
		last := status.LastTerminationState.Terminated
		return last != nil && last.Reason == "OOMKilled" && last.ExitCode == 137 && status.State.Waiting != nil
	})
	if status.State.Waiting.Reason != "CrashLoopBackOff" || status.Ready {
		t.Errorf("waits as %+v, ready %v", status.State.Waiting, status.Ready)
	}
	eventually(t, "it is restarted", func() bool { return podsOf(t, "greedy")[0].Status.ContainerStatuses[0].RestartCount > 0 })
	eventually(t, "the kubelet's events", func() bool {
		reasons := eventReasons(t, podsOf(t, "greedy")[0].Name)
		return reasons["Pulled"] && reasons["Created"] && reasons["Started"] && reasons["BackOff"] && reasons["Scheduled"]
	})
}

func eventReasons(t *testing.T, pod string) map[string]bool {
	t.Helper()
	list, err := admin.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, event := range list.Items {
		reasons[event.Reason] = true
	}
	return reasons
}

func TestTheSchedulerIsReal(t *testing.T) {
	j := job("huge", "plain", 1, corev1.RestartPolicyNever)
	j.Spec.Template.Spec.Containers[0].Resources.Limits["nvidia.com/gpu"] = resource.MustParse("9")
	create(t, j)
	eventually(t, "the scheduler says why", func() bool {
		pods := podsOf(t, "huge")
		return len(pods) == 1 && len(pods[0].Status.Conditions) > 0 &&
			strings.HasPrefix(pods[0].Status.Conditions[0].Message, "0/16 nodes are available: 16 Insufficient nvidia.com/gpu.")
	})
}

func TestANodeTurnsAwayWhatItHasNoGPUsFor(t *testing.T) {
	// Names its node itself, so that the scheduler does not count.
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pushy", Namespace: "default"},
		Spec: corev1.PodSpec{NodeName: "gpu-03", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
			Name: "main", Image: "plain", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("9")}},
		}}},
	}
	if _, err := admin.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod failed", func() bool {
		now, err := admin.CoreV1().Pods("default").Get(t.Context(), "pushy", metav1.GetOptions{})
		return err == nil && now.Status.Phase == corev1.PodFailed && now.Status.Reason == "OutOfnvidia.com/gpu" &&
			strings.Contains(now.Status.Message, "requested: 9") && len(now.Status.ContainerStatuses) == 0
	})
	if err := admin.CoreV1().Pods("default").Delete(t.Context(), "pushy", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is gone", func() bool {
		_, err := admin.CoreV1().Pods("default").Get(t.Context(), "pushy", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestInitContainersRunFirst(t *testing.T) {
	for _, c := range []struct{ name, image, want, main string }{
		{"init-ok", "plain", "Succeeded", "Completed"},
		{"init-bad", "greedy", "Failed", "PodInitializing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := job(c.name, "plain", 1, corev1.RestartPolicyNever)
			j.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "first", Image: c.image}}
			j.Spec.BackoffLimit = new(int32)
			create(t, j)
			eventually(t, string(c.want), func() bool {
				pods := podsOf(t, c.name)
				return len(pods) == 1 && string(pods[0].Status.Phase) == c.want
			})
			status := podsOf(t, c.name)[0].Status
			if status.InitContainerStatuses[0].State.Terminated == nil {
				t.Errorf("init container: %+v", status.InitContainerStatuses[0].State)
			}
			got := ""
			if state := status.ContainerStatuses[0].State; state.Terminated != nil {
				got = state.Terminated.Reason
			} else if state.Waiting != nil {
				got = state.Waiting.Reason
			}
			if got != c.main {
				t.Errorf("main container is %s, want %s", got, c.main)
			}
		})
	}
}

func TestSuspendRemovesPods(t *testing.T) {
	create(t, job("endless", "endless", 4, corev1.RestartPolicyOnFailure))
	eventually(t, "all run", func() bool { return running(t, "endless") == 4 })
	for _, suspend := range []string{"true", "false"} {
		_, err := admin.BatchV1().Jobs("default").Patch(t.Context(), "endless", "application/merge-patch+json",
			[]byte(`{"spec":{"suspend":`+suspend+`}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if suspend == "true" {
			eventually(t, "all are gone", func() bool { return len(podsOf(t, "endless")) == 0 })
		}
	}
	eventually(t, "all run again", func() bool { return running(t, "endless") == 4 })
}

func running(t *testing.T, job string) int {
	t.Helper()
	n := 0
	for _, pod := range podsOf(t, job) {
		if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

// The state in which a deleted pod ended is seen by who watches.
func TestDeletionIsGraceful(t *testing.T) {
	create(t, job("stopped", "endless", 1, corev1.RestartPolicyOnFailure))
	eventually(t, "it runs", func() bool { return running(t, "stopped") == 1 })
	pod := podsOf(t, "stopped")[0]
	watch, err := admin.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	if err := admin.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var last corev1.PodStatus
	for event := range watch.ResultChan() {
		last = event.Object.(*corev1.Pod).Status
		if event.Type == "DELETED" {
			break
		}
	}
	ended := last.ContainerStatuses[0].State.Terminated
	if ended == nil || ended.ExitCode != 143 || ended.Reason != "Error" || last.Phase != corev1.PodFailed {
		t.Errorf("ended as %s with %+v", last.Phase, ended)
	}
	if !eventReasons(t, pod.Name)["Killing"] {
		t.Error("no Killing event")
	}
}

func TestEvictionRespectsABudget(t *testing.T) {
	create(t, job("guarded", "endless", 1, corev1.RestartPolicyOnFailure))
	eventually(t, "it runs", func() bool { return running(t, "guarded") == 1 })
	err := lab.Apply(t.Context(), []byte(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {batch.kubernetes.io/job-name: guarded}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin.PolicyV1().PodDisruptionBudgets("default").Delete(context.Background(), "guarded", metav1.DeleteOptions{})
	})
	if err := evict(t, podsOf(t, "guarded")[0].Name); !apierrors.IsTooManyRequests(err) {
		t.Errorf("eviction: %v, want too many requests", err)
	}
}
