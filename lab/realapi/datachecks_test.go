package realapi

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

type check func(context.Context, steps.CheckParams) (steps.CheckResult, error)

// checked resolves a job, carries out a check and returns its findings by id;
// of several with one id the first.
func (w *world) checked(carryOut check, job *batchv1.Job) map[string]incident.Finding {
	w.Helper()
	found, err := w.hands.ResolveTarget(w.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: w.target(job.Name), Fabric: sited})
	w.must(err)
	result, err := carryOut(w.ctx, steps.CheckParams{Incident: incidentID, Workload: found.Workload, Fabric: sited})
	w.must(err)
	findings := map[string]incident.Finding{}
	for _, finding := range result.Findings {
		if _, told := findings[finding.ID]; !told {
			findings[finding.ID] = finding
		}
		if strings.Contains(finding.Why, "cannot") && strings.Contains(finding.Why, "verbs") {
			w.Errorf("%s: a right is missing: %s", finding.ID, finding.Why)
		}
	}
	return findings
}

// want compares "yes 64Mi" and parts of the sentence.
func (w *world) want(findings map[string]incident.Finding, id, answer string, parts ...string) {
	w.Helper()
	finding := findings[id]
	if got := strings.TrimSpace(string(finding.State) + " " + finding.Value); got != answer {
		w.Errorf("%s: got %q, want %q (%s)", id, got, answer, finding.Why)
	}
	for _, part := range parts {
		if !strings.Contains(finding.Subject+" "+finding.Why, part) {
			w.Errorf("%s: %s %q does not say %q", id, finding.Subject, finding.Why, part)
		}
	}
}

// warn makes an event as a kubelet does; the fields by which events are
// selected are the server's.
func (w *world) warn(object corev1.ObjectReference, reason, message string) {
	w.Helper()
	now := metav1.Now()
	_, err := w.admin.CoreV1().Events(object.Namespace).Create(w.ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Namespace: object.Namespace},
		InvolvedObject: object, Reason: reason, Message: message, Type: "Warning", FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: "kubelet"}}, metav1.CreateOptions{})
	w.must(err)
}

func (w *world) class(name, provisioner string, parameters map[string]string) {
	w.Helper()
	_, err := w.admin.StorageV1().StorageClasses().Create(w.ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, Parameters: parameters}, metav1.CreateOptions{})
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		w.must(w.admin.StorageV1().StorageClasses().Delete(ctx, name, metav1.DeleteOptions{}))
	})
}

// claim makes a claim and, when bound, a volume to which it is bound.
func (w *world) claim(name, class string, bound bool) {
	w.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Ti")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: size}}}
	if bound {
		claim.Spec.VolumeName = w.namespace + "-" + name
		_, err := w.admin.CoreV1().PersistentVolumes().Create(w.ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName},
			Spec: corev1.PersistentVolumeSpec{Capacity: size, AccessModes: modes, StorageClassName: class,
				ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: w.namespace, Name: name},
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "filestore.csi.storage.gke.io", VolumeHandle: name}}}}, metav1.CreateOptions{})
		w.must(err)
		w.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			w.must(w.admin.CoreV1().PersistentVolumes().Delete(ctx, claim.Spec.VolumeName, metav1.DeleteOptions{}))
		})
	}
	_, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Create(w.ctx, claim, metav1.CreateOptions{})
	w.must(err)
	if bound {
		w.bind(name)
	}
}

// bind waits for the binder. Where the control plane runs none, it does the
// binder's work: the claim's mark, the volume's reference and both phases.
func (w *world) bind(name string) {
	w.Helper()
	claims := w.admin.CoreV1().PersistentVolumeClaims(w.namespace)
	var claim *corev1.PersistentVolumeClaim
	for range 30 {
		var err error
		claim, err = claims.Get(w.ctx, name, metav1.GetOptions{})
		w.must(err)
		if claim.Status.Phase == corev1.ClaimBound {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	volume, err := w.admin.CoreV1().PersistentVolumes().Get(w.ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	w.must(err)
	volume.Spec.ClaimRef.UID, volume.Spec.ClaimRef.ResourceVersion = claim.UID, claim.ResourceVersion
	volume, err = w.admin.CoreV1().PersistentVolumes().Update(w.ctx, volume, metav1.UpdateOptions{})
	w.must(err)
	volume.Status.Phase = corev1.VolumeBound
	_, err = w.admin.CoreV1().PersistentVolumes().UpdateStatus(w.ctx, volume, metav1.UpdateOptions{})
	w.must(err)
	claim.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	claim, err = claims.Update(w.ctx, claim, metav1.UpdateOptions{})
	w.must(err)
	claim.Status.Phase, claim.Status.AccessModes, claim.Status.Capacity = corev1.ClaimBound, claim.Spec.AccessModes, volume.Spec.Capacity
	_, err = claims.UpdateStatus(w.ctx, claim, metav1.UpdateOptions{})
	w.must(err)
}

// onClaims mounts claims in the trainer.
func onClaims(job *batchv1.Job, names ...string) {
	pod := &job.Spec.Template.Spec
	for _, name := range names {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		pod.Containers[1].VolumeMounts = append(pod.Containers[1].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
}

func TestCheckMemory(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJobWith("llama", func(job *batchv1.Job) {
		job.Annotations = map[string]string{incident.KnobAnnotation: "[{role: micro-batch, env: B, type: int, max: 64}]"}
		trainer := &job.Spec.Template.Spec.Containers[1]
		trainer.Env = append(trainer.Env, corev1.EnvVar{Name: "PYTORCH_ALLOC_CONF", Value: "expandable_segments:True"})
		trainer.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("64Gi")
	})
	pod := w.running(job)
	findings := w.checked(w.hands.CheckMemory, job)
	w.want(findings, incident.HostMemoryKilled, "no")
	w.want(findings, incident.NodeMemoryShort, "no")
	w.want(findings, incident.ShmSmall, "yes 64Mi", "on 4 of 4 ranks")
	w.want(findings, incident.GPUSliced, "no")
	w.want(findings, incident.AllocatorSet, "yes PYTORCH_ALLOC_CONF=expandable_segments:True")
	w.want(findings, incident.KnobsDeclared, "yes micro-batch")

	live, err := w.admin.CoreV1().Pods(w.namespace).Get(w.ctx, pod, metav1.GetOptions{})
	w.must(err)
	w.warn(corev1.ObjectReference{Kind: "Node", Name: live.Spec.NodeName, UID: types.UID(live.Spec.NodeName), Namespace: "default"}, "SystemOOM", "System OOM encountered, victim process: python, pid: 7")
	for i := range live.Status.ContainerStatuses {
		live.Status.ContainerStatuses[i].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.Now()}
	}
	_, err = w.admin.CoreV1().Pods(w.namespace).UpdateStatus(w.ctx, live, metav1.UpdateOptions{})
	w.must(err)
	findings = w.checked(w.hands.CheckMemory, job)
	if value := findings[incident.HostMemoryKilled].Value; value != "64Gi" && value != "none" { // the side container has no limit
		t.Errorf("killed at %q", value)
	}
	w.want(findings, incident.HostMemoryKilled, "yes "+findings[incident.HostMemoryKilled].Value, "pod/"+pod)
	w.want(findings, incident.NodeMemoryShort, "yes SystemOOM", "node/"+live.Spec.NodeName, "victim process: python")
}

// TestCheckCapacity: the larger GPUs are a label on one of the lab's nodes.
func TestCheckCapacity(t *testing.T) {
	w := newWorld(t)
	job := w.trainingJobWith("llama", func(job *batchv1.Job) {
		two := int32(2)
		job.Spec.Completions, job.Spec.Parallelism = &two, &two
		job.Spec.Template.Spec.NodeSelector = map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
	})
	w.running(job)
	findings := w.checked(w.hands.CheckCapacity, job)
	w.want(findings, incident.GPUsUnexposed, "no", "all 16 GPU nodes")
	w.want(findings, incident.LargerGPUFree, "no", "NVIDIA-H100-80GB-HBM3")
	if finding := findings[incident.GPUsFragmented]; finding.State != incident.No || !strings.Contains(finding.Why, "a rank needs 4") {
		t.Errorf("%+v", finding)
	}

	empty := ""
	for _, name := range []string{"gpu-15", "gpu-14", "gpu-13"} {
		if free := w.podsOn(name); free == 0 {
			empty = name
		}
	}
	w.putBackAfterwards(empty)
	_, err := w.admin.CoreV1().Nodes().Patch(w.ctx, empty, types.MergePatchType, []byte(`{"metadata":{"labels":{"nvidia.com/gpu.product":"NVIDIA-H200","nvidia.com/gpu.memory":"143771","nvidia.com/gpu.count":"16"}}}`), metav1.PatchOptions{})
	w.must(err)
	findings = w.checked(w.hands.CheckCapacity, job)
	w.want(findings, incident.LargerGPUFree, "yes NVIDIA-H200", "all 2 ranks find room on 1 nodes")
	w.want(findings, incident.GPUsUnexposed, "yes 8 of 16", "node/"+empty)
}

func (w *world) podsOn(node string) int {
	w.Helper()
	list, err := w.admin.CoreV1().Pods("").List(w.ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	w.must(err)
	return len(list.Items)
}

func TestCheckVolumes(t *testing.T) {
	w := newWorld(t)
	w.class("shared-hdd", "filestore.csi.storage.gke.io", map[string]string{"tier": "BASIC_HDD"})
	w.class("shared-ssd", "filestore.csi.storage.gke.io", map[string]string{"tier": "BASIC_SSD"})
	w.claim("dataset", "shared-hdd", true)
	w.claim("scratch", "shared-ssd", false)
	reading := w.trainingJobWith("reading", func(job *batchv1.Job) { onClaims(job, "dataset") })
	w.running(reading)
	findings := w.checked(w.hands.CheckVolumes, reading)
	w.want(findings, incident.VolumeUnbound, "no", "all 1 claims")
	w.want(findings, incident.VolumeMountFails, "no")
	w.want(findings, incident.VolumeClassSlow, "yes shared-hdd, faster: shared-ssd", "pvc/dataset", "tier BASIC_HDD")

	waiting := w.trainingJobWith("waiting", func(job *batchv1.Job) { onClaims(job, "scratch", "nowhere") })
	pods := w.pods("waiting", 4)
	claim, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Get(w.ctx, "scratch", metav1.GetOptions{})
	w.must(err)
	w.warn(corev1.ObjectReference{Kind: "PersistentVolumeClaim", Name: "scratch", Namespace: w.namespace, UID: claim.UID}, "ProvisioningFailed", "quota of 10 TiB is used up")
	w.warn(corev1.ObjectReference{Kind: "Pod", Name: pods[1].Name, Namespace: w.namespace, UID: pods[1].UID}, "FailedMount", "MountVolume.SetUp failed: mount.nfs: Connection timed out, password="+secret)
	findings = w.checked(w.hands.CheckVolumes, waiting)
	w.want(findings, incident.VolumeUnbound, "yes missing", "pvc/nowhere")
	w.want(findings, incident.VolumeMountFails, "yes FailedMount", "pod/"+pods[1].Name, "Connection timed out")
	if strings.Contains(findings[incident.VolumeMountFails].Why, secret) {
		t.Error("a secret is told")
	}
}

func TestCheckLoading(t *testing.T) {
	w := newWorld(t)
	w.claim("dataset", "", true)
	job := w.trainingJobWith("llama", func(job *batchv1.Job) {
		onClaims(job, "dataset")
		trainer := &job.Spec.Template.Spec.Containers[1]
		trainer.Args = []string{"--num-workers=$(LOADERS)"}
		trainer.Env = append(trainer.Env, corev1.EnvVar{Name: "LOADERS", Value: "0"})
		trainer.Resources.Limits[corev1.ResourceCPU] = resource.MustParse("8")
	})
	w.trainingJobWith("tokenize", func(prep *batchv1.Job) {
		prep.Labels = map[string]string{"gpumedic.io/prepares": "llama"}
		none, one := int32(0), int32(1)
		prep.Spec.BackoffLimit, prep.Spec.Completions, prep.Spec.Parallelism = &none, &one, &one
		prep.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
		prep.Spec.Template.Spec.Containers = prep.Spec.Template.Spec.Containers[:1]
	})
	w.running(job)
	findings := w.checked(w.hands.CheckLoading, job)
	w.want(findings, incident.CacheMissing, "yes lies on volume "+w.namespace+"-dataset of filestore.csi.storage.gke.io, behind claim dataset")
	w.want(findings, incident.LoaderWorkersFew, "yes 0 workers of 8 CPUs", "--num-workers")
	w.want(findings, incident.PreprocessingFail, "no", "tokenize (failed 0, active 1, succeeded 0)")

	pod := w.pods("tokenize", 1)[0]
	pod.Status.Phase = corev1.PodFailed // the real Job controller then gives up
	_, err := w.admin.CoreV1().Pods(w.namespace).UpdateStatus(w.ctx, &pod, metav1.UpdateOptions{})
	w.must(err)
	w.until("job tokenize has failed", func() bool {
		prep, err := w.admin.BatchV1().Jobs(w.namespace).Get(w.ctx, "tokenize", metav1.GetOptions{})
		w.must(err)
		return prep.Status.Failed == 1 && len(prep.Status.Conditions) > 0
	})
	findings = w.checked(w.hands.CheckLoading, job)
	w.want(findings, incident.PreprocessingFail, "yes failed 1, active 0, succeeded 0", "job/tokenize", "BackoffLimitExceeded")
}
