package cluster_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gpumedic/lab/cluster"
	"gpumedic/lab/kubelet"
)

// program says hello, and fails the first time when its image is "flaky" or
// runs out of memory when it is "greedy".
type program struct{}

func (program) Run(ctx context.Context, c kubelet.Container) kubelet.Exit {
	io.WriteString(c.Out, "hello from "+c.Node+"\n")
	switch c.Spec.Image {
	case "flaky":
		if c.Restart == 0 {
			io.WriteString(c.Out, "no\n")
			return kubelet.Exit{Code: 1}
		}
	case "greedy":
		return kubelet.Exit{Code: 137, Reason: "OOMKilled"}
	case "endless":
		<-ctx.Done()
		return kubelet.Exit{Code: 143}
	}
	return kubelet.Exit{}
}

var (
	lab   *cluster.Cluster
	admin *kubernetes.Clientset
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	started := time.Now()
	if lab, err = cluster.Start(ctx, cluster.Options{Dir: dir, Binary: binary()}); err != nil {
		println(err.Error())
		return 1
	}
	defer lab.Stop()
	certificate, err := lab.Certificate()
	if err != nil {
		panic(err)
	}
	nodes, err := kubelet.Start(ctx, kubelet.Options{Config: lab.RESTConfig(), Topology: kubelet.DefaultTopology(), Runner: program{}, Certificate: certificate})
	if err != nil {
		panic(err)
	}
	defer nodes.Stop()
	println("control plane and 16 nodes in", time.Since(started).String())
	admin = kubernetes.NewForConfigOrDie(lab.RESTConfig())
	return m.Run()
}

func binary() string {
	if path := os.Getenv("GPUMEDIC_CONTROLPLANE"); path != "" {
		return path
	}
	path, _ := filepath.Abs("../../bin/gpumedic-controlplane")
	return path
}

func job(name, image string, n int32, policy corev1.RestartPolicy) *batchv1.Job {
	indexed := batchv1.IndexedCompletion
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: batchv1.JobSpec{Completions: &n, Parallelism: &n, CompletionMode: &indexed, Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{
				Name: "main", Image: image,
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}},
			}}},
		}},
	}
}

// eventually asks until ok or half a minute is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func create(t *testing.T, j *batchv1.Job) {
	t.Helper()
	if _, err := admin.BatchV1().Jobs("default").Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		background := metav1.DeletePropagationBackground
		admin.BatchV1().Jobs("default").Delete(context.Background(), j.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	})
}

func podsOf(t *testing.T, name string) []corev1.Pod {
	t.Helper()
	list, err := admin.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestIndexedJobCompletes(t *testing.T) {
	create(t, job("plain", "plain", 16, corev1.RestartPolicyNever))
	eventually(t, "the job succeeds", func() bool {
		j, err := admin.BatchV1().Jobs("default").Get(t.Context(), "plain", metav1.GetOptions{})
		return err == nil && j.Status.Succeeded == 16
	})
	nodes, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 16 {
		t.Fatalf("%d nodes, %v", len(nodes.Items), err)
	}
	for _, node := range nodes.Items {
		if node.Annotations[kubelet.SimulatedAnnotation] != "true" {
			t.Errorf("%s does not say that it is simulated", node.Name)
		}
	}
}

func TestLogsThroughTheRealAPI(t *testing.T) {
	create(t, job("flaky", "flaky", 1, corev1.RestartPolicyOnFailure))
	eventually(t, "the pod succeeds the second time", func() bool {
		pods := podsOf(t, "flaky")
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodSucceeded
	})
	pod := podsOf(t, "flaky")[0]
	if pod.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("restarts %d", pod.Status.ContainerStatuses[0].RestartCount)
	}
	read := func(options corev1.PodLogOptions) string {
		data, err := admin.CoreV1().Pods("default").GetLogs(pod.Name, &options).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if now, before := read(corev1.PodLogOptions{}), read(corev1.PodLogOptions{Previous: true}); strings.Contains(now, "no") || !strings.HasSuffix(before, "no\n") {
		t.Errorf("current %q, previous %q", now, before)
	}
	stamped := read(corev1.PodLogOptions{Timestamps: true})
	at, _, _ := strings.Cut(stamped, " ")
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
		t.Errorf("timestamp of %q: %v", stamped, err)
	}
}

func TestOutOfMemoryIsVisible(t *testing.T) {
	create(t, job("greedy", "greedy", 1, corev1.RestartPolicyOnFailure))
	eventually(t, "OOMKilled as last state", func() bool {
		pods := podsOf(t, "greedy")
		if len(pods) != 1 || len(pods[0].Status.ContainerStatuses) != 1 {
			return false
		}
		last := pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated
		return last != nil && last.Reason == "OOMKilled" && last.ExitCode == 137
	})
}

func TestTheSchedulerIsReal(t *testing.T) {
	j := job("huge", "plain", 1, corev1.RestartPolicyNever)
	j.Spec.Template.Spec.Containers[0].Resources.Limits["nvidia.com/gpu"] = resource.MustParse("9")
	create(t, j)
	eventually(t, "the scheduler says why", func() bool {
		pods := podsOf(t, "huge")
		return len(pods) == 1 && len(pods[0].Status.Conditions) > 0 && strings.HasPrefix(pods[0].Status.Conditions[0].Message, "0/16 nodes are available: 16 Insufficient nvidia.com/gpu.")
	})
}

func TestSuspendRemovesPods(t *testing.T) {
	create(t, job("endless", "endless", 4, corev1.RestartPolicyOnFailure))
	eventually(t, "all run", func() bool {
		running := 0
		for _, pod := range podsOf(t, "endless") {
			if pod.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		return running == 4
	})
	j, err := admin.BatchV1().Jobs("default").Get(t.Context(), "endless", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	j.Spec.Suspend = &yes
	if _, err := admin.BatchV1().Jobs("default").Update(t.Context(), j, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are gone", func() bool { return len(podsOf(t, "endless")) == 0 })
}

func TestAStrangerMayNothing(t *testing.T) {
	path, err := lab.KubeconfigFor("stranger")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kubernetes.NewForConfigOrDie(config).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want forbidden", err)
	}
}
