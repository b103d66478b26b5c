package cluster_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"gpumedic/lab/cluster"
	"gpumedic/lab/kubelet"
)

// program says hello; what else it does is told by its image.
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
		io.WriteString(c.Out, "stopped\n")
		return kubelet.Exit{Code: 143}
	case "talker":
		return talk(ctx, c.Out)
	}
	return kubelet.Exit{}
}

// talk counts until it is stopped.
func talk(ctx context.Context, out io.Writer) kubelet.Exit {
	for n := 0; ; n++ {
		fmt.Fprintf(out, "line %d\n", n)
		select {
		case <-ctx.Done():
			return kubelet.Exit{Code: 143}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	lab   *cluster.Cluster
	admin *kubernetes.Clientset
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanFolder); dir != "" {
		os.Exit(orphan(dir))
	}
	os.Exit(withLab(m))
}

// withLab runs the tests against one control plane for all of them.
func withLab(m *testing.M) int {
	began := time.Now()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	if lab, err = cluster.Start(context.Background(), cluster.Options{Dir: dir, Binary: binary()}); err != nil {
		return complain(err)
	}
	defer lab.Stop()
	ready := time.Since(began)
	certificate, err := lab.Certificate()
	if err != nil {
		return complain(err)
	}
	nodes, err := kubelet.Start(context.Background(), kubelet.Options{
		Config: lab.RESTConfig(), Topology: kubelet.DefaultTopology(), Runner: program{}, Certificate: certificate,
	})
	if err != nil {
		return complain(err)
	}
	defer nodes.Stop()
	fmt.Fprintf(os.Stderr, "control plane up after %v, 16 nodes after %v\n", ready, time.Since(began))
	admin = kubernetes.NewForConfigOrDie(lab.RESTConfig())
	return m.Run()
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
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
