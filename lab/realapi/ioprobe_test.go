package realapi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"gpumedic/activities/ioprobe"
	"gpumedic/incident"
	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

// readForReal is what a kubelet does for a probe, but for the container: it runs
// the command on this machine, with the script that the ConfigMap holds. A volume is
// a directory of this machine, which the tests mount at its own path.
func readForReal(ctx context.Context, c kubelet.Container) kubelet.Exit {
	broken := func(err error) kubelet.Exit {
		fmt.Fprintln(c.Out, err)
		return kubelet.Exit{Code: 127}
	}
	dir, err := os.MkdirTemp("", "gpumedic-probe")
	if err != nil {
		return broken(err)
	}
	defer os.RemoveAll(dir)
	script, err := kubernetes.NewForConfigOrDie(control.RESTConfig()).CoreV1().ConfigMaps(c.Pod.Namespace).Get(ctx, c.Pod.Labels[batchv1.JobNameLabel], metav1.GetOptions{})
	if err != nil {
		return broken(err)
	}
	for name, text := range script.Data {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return broken(err)
		}
	}
	command := c.Spec.Command
	for i, word := range command {
		if name, ok := strings.CutPrefix(word, "/opt/gpumedic/"); ok {
			command[i] = filepath.Join(dir, name)
		}
	}
	program := exec.CommandContext(ctx, command[0], command[1:]...)
	program.Env, program.Stdout, program.Stderr = []string{"PATH=" + os.Getenv("PATH")}, c.Out, c.Out
	for _, v := range c.Spec.Env {
		if v.ValueFrom != nil {
			v.Value = c.Node // the only field that the probe asks for
		}
		program.Env = append(program.Env, v.Name+"="+v.Value)
	}
	if err := program.Run(); err != nil {
		return broken(err)
	}
	return kubelet.Exit{}
}

// reading is a job whose trainer reads a dataset of this machine's disk, which
// stands for the volume behind its claim.
func (w *world) reading(name string) (job *batchv1.Job, dataset string) {
	w.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		w.Skip("python3 is not on this machine")
	}
	dataset = w.TempDir()
	for i := range 30 {
		size := 30_000
		if i%10 == 0 {
			size = 5 << 20
		}
		w.must(os.WriteFile(filepath.Join(dataset, fmt.Sprintf("%03d.bin", i)), bytes.Repeat([]byte{byte(i)}, size), 0o600))
	}
	w.claim("dataset", "", true)
	job = w.trainingJobWith(name, func(job *batchv1.Job) {
		onClaims(job, "dataset")
		mounts := job.Spec.Template.Spec.Containers[1].VolumeMounts
		mounts[len(mounts)-1].MountPath, mounts[len(mounts)-1].ReadOnly = dataset, true
		job.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64)}
	})
	return job, dataset
}

// probe asks for one, under the rights of deploy/rbac.yaml; what it made is
// removed in the end, and then nothing may be left.
func (w *world) probe(job *batchv1.Job, slowMBps float64) (steps.RunIOProbeResult, error) {
	w.Helper()
	p := steps.RunIOProbeParams{
		Incident: incidentID, Name: "gpumedic-io-test", Namespace: w.namespace, Workload: w.workload(job),
		Settings: incident.IOProbeSettings{
			Enabled: true, MaxBytes: 64 << 20, StartDeadline: 8 * time.Second, Deadline: 30 * time.Second, SlowMBps: slowMBps, SlowSmallRead: time.Hour,
		},
	}
	hands := &ioprobe.Hands{Kube: w.hands.Kube, Store: w.store}
	w.Cleanup(func() { w.cleanProbe(hands, p) })
	return hands.RunIOProbe(w.ctx, p)
}

func (w *world) cleanProbe(hands *ioprobe.Hands, p steps.RunIOProbeParams) {
	clean := steps.CleanIOProbeParams{Incident: p.Incident, Namespace: p.Namespace, Name: p.Name}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 2 {
		if _, err := hands.CleanIOProbe(ctx, clean); err != nil {
			w.Error(err)
		}
	}
	w.until("nothing of the probe is left", func() bool {
		pods, err := w.admin.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: ioprobe.Label + "=true"})
		w.must(err)
		_, job := w.admin.BatchV1().Jobs(w.namespace).Get(ctx, p.Name, metav1.GetOptions{})
		_, script := w.admin.CoreV1().ConfigMaps(w.namespace).Get(ctx, p.Name, metav1.GetOptions{})
		return len(pods.Items) == 0 && apierrors.IsNotFound(job) && apierrors.IsNotFound(script)
	})
}

// answers are the probe's findings by question.
func answers(result steps.RunIOProbeResult) map[string]incident.Finding {
	found := map[string]incident.Finding{}
	for _, f := range result.Findings {
		found[f.ID] = f
	}
	return found
}

// TestIOProbe reads real files in a pod that the real API server, scheduler and
// Job controller took, in a namespace of the strictest pod security level.
func TestIOProbe(t *testing.T) {
	w := newWorld(t)
	job, dataset := w.reading("reading")
	w.running(job) // the trainer itself would not be let into such a namespace
	_, err := w.admin.CoreV1().Namespaces().Patch(w.ctx, w.namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`), metav1.PatchOptions{})
	w.must(err)
	result, err := w.probe(job, 1e9)
	w.must(err)
	findings := answers(result)
	slow, small := findings[incident.StorageSlow], findings[incident.SmallFilesSlow]
	if slow.State != incident.Yes || slow.Subject != "pvc/dataset" || small.State != incident.No || result.Simulated {
		t.Fatalf("%+v", result)
	}
	if log := w.store.text(result.Evidence.SHA256); !strings.Contains(log, dataset) || len(slow.Evidence) != 1 {
		t.Errorf("evidence %v: %s", slow.Evidence, log)
	}
	w.probedWhereTheRankIs(job)
	t.Log(slow.Why)

	again, err := w.probe(job, 1e-3) // joins the Job that is there
	w.must(err)
	if state := answers(again)[incident.StorageSlow].State; state != incident.No || again.Evidence.SHA256 != result.Evidence.SHA256 {
		t.Errorf("the second attempt is %s, and read %s anew", state, again.Evidence.Name)
	}
}

func (s *memoryStore) text(sum string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.content[sum])
}

// probedWhereTheRankIs: on rank 0's node, with no GPU, no right to write and nobody's
// user.
func (w *world) probedWhereTheRankIs(job *batchv1.Job) {
	w.Helper()
	pods, err := w.admin.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{LabelSelector: ioprobe.Label + "=true"})
	w.must(err)
	if len(pods.Items) != 1 {
		w.Fatalf("%d pods", len(pods.Items))
	}
	pod := pods.Items[0]
	for _, rank := range w.pods(job.Name, 4) {
		if rank.Annotations[batchv1.JobCompletionIndexAnnotation] == "0" && rank.Spec.NodeName != pod.Spec.NodeName {
			w.Errorf("the probe is on %s, rank 0 on %s", pod.Spec.NodeName, rank.Spec.NodeName)
		}
	}
	reader := pod.Spec.Containers[0]
	if _, gpu := reader.Resources.Limits["nvidia.com/gpu"]; gpu || pod.Spec.SecurityContext.FSGroup != nil || *pod.Spec.SecurityContext.RunAsUser == 0 {
		w.Errorf("the pod is %+v", pod.Spec)
	}
	for _, mount := range reader.VolumeMounts {
		if mount.Name == "dataset" && !mount.ReadOnly {
			w.Error("the dataset may be written to")
		}
	}
}

// TestIOProbeWithoutRoom: what the cluster refuses is unknown, with the cluster's
// own words.
func TestIOProbeWithoutRoom(t *testing.T) {
	w := newWorld(t)
	job, _ := w.reading("reading")
	w.running(job)
	_, err := w.admin.CoreV1().ResourceQuotas(w.namespace).Create(w.ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "full"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("4")}}}, metav1.CreateOptions{})
	w.must(err)
	w.until("the quota counts", func() bool {
		quota, err := w.admin.CoreV1().ResourceQuotas(w.namespace).Get(w.ctx, "full", metav1.GetOptions{})
		w.must(err)
		used := quota.Status.Used[corev1.ResourcePods]
		return used.Value() == 4
	})
	result, err := w.probe(job, 100)
	w.must(err)
	slow := answers(result)[incident.StorageSlow]
	if slow.State != incident.Unknown || !strings.Contains(slow.Why, "exceeded quota") {
		t.Errorf("%+v", slow)
	}
}

// TestIOProbeWithoutRights: who may look and not act is refused, and creates nothing.
func TestIOProbeWithoutRights(t *testing.T) {
	w := newWorld(t)
	job, _ := w.reading("reading")
	w.running(job)
	w.must(w.admin.RbacV1().RoleBindings(w.namespace).Delete(w.ctx, "gpumedic-act", metav1.DeleteOptions{}))
	w.until("the binding no longer counts", func() bool {
		_, err := w.hands.Kube.CoreV1().ConfigMaps(w.namespace).Create(w.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "try-"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err)
	})
	hands := &ioprobe.Hands{Kube: w.hands.Kube, Store: w.store}
	_, err := hands.RunIOProbe(w.ctx, steps.RunIOProbeParams{
		Incident: incidentID, Name: "gpumedic-io-test", Namespace: w.namespace, Workload: w.workload(job),
		Settings: incident.IOProbeSettings{MaxBytes: 1 << 20, StartDeadline: time.Second, Deadline: time.Second, SlowMBps: 1, SlowSmallRead: 1},
	})
	if incident.KindOf(err) != incident.Forbidden {
		t.Errorf("got %v", err)
	}
}
