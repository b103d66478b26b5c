package cluster

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

var jobsResource = batchv1.SchemeGroupVersion.WithResource("jobs")

// dataChecks are those of memory, capacity, volumes and loading.
func (w *world) dataChecks() map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error) {
	return map[string]func(context.Context, steps.CheckParams) (steps.CheckResult, error){
		steps.CheckMemory: w.CheckMemory, steps.CheckCapacity: w.CheckCapacity, steps.CheckVolumes: w.CheckVolumes, steps.CheckLoading: w.CheckLoading,
	}
}

// onClaim mounts a claim at /data.
func onClaim(name string) func(*corev1.Pod) {
	return mounted("/data", "data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func testClaim(name, class string, options ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeName: "pv-" + name,
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	for _, option := range options {
		option(claim)
	}
	return claim
}

func inClaimPhase(phase corev1.PersistentVolumeClaimPhase) func(*corev1.PersistentVolumeClaim) {
	return func(claim *corev1.PersistentVolumeClaim) { claim.Status.Phase = phase }
}

func many(claim *corev1.PersistentVolumeClaim) {
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
}

func testVolume(claim string, source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source}}
}

func testClass(name, provisioner string, parameters ...string) *storagev1.StorageClass {
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, Parameters: map[string]string{}}
	for i := 0; i < len(parameters); i += 2 {
		class.Parameters[parameters[i]] = parameters[i+1]
	}
	return class
}

func waitingClass(name string) *storagev1.StorageClass {
	class, mode := testClass(name, "x"), storagev1.VolumeBindingWaitForFirstConsumer
	class.VolumeBindingMode = &mode
	return class
}

func eventOf(kind, name, reason, message string, ago time.Duration) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name + "." + reason, Namespace: "training"}, Reason: reason, Message: message, Type: "Warning",
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name, Namespace: "training"},
		LastTimestamp:  metav1.NewTime(midday.Add(-ago))}
}

// withData is a job of two ranks that mount claim "data", and more objects.
func withData(objects ...runtime.Object) []runtime.Object {
	return append(gang(2, onClaim("data")), objects...)
}

func TestCheckVolumesUnbound(t *testing.T) {
	const failed = "ProvisioningFailed"
	pending := testClaim("data", "slow", inClaimPhase(corev1.ClaimPending))
	unplaced := gang(2, onClaim("data"), func(pod *corev1.Pod) { pod.Spec.NodeName = "" })
	for name, test := range map[string]struct {
		objects []runtime.Object
		change  func(*world)
		want    expect
	}{
		"no claims": {objects: gang(2), want: expect{incident.No, "", "", []string{"mount no persistent volume claim"}}},
		"bound":     {objects: withData(testClaim("data", "slow")), want: expect{incident.No, "", "", []string{"all 1 claims"}}},
		"missing":   {objects: withData(), want: expect{incident.Yes, "pvc/data", "missing", []string{"does not exist"}}},
		"lost":      {objects: withData(testClaim("data", "slow", inClaimPhase(corev1.ClaimLost))), want: expect{incident.Yes, "pvc/data", "Lost", []string{"pv-data"}}},
		"no class":  {objects: withData(pending), want: expect{incident.Yes, "pvc/data", "Pending", []string{"class slow, which does not exist"}}},
		"pending":   {objects: withData(pending, testClass("slow", "x")), want: expect{incident.Yes, "pvc/data", "Pending", nil}},
		"why it is not provisioned": {objects: withData(pending, testClass("slow", "x"), eventOf("PersistentVolumeClaim", "data", failed, "quota exceeded, token=abcdefghijklmnop", time.Minute)),
			want: expect{incident.Yes, "pvc/data", failed, []string{"quota exceeded"}}},
		"waits for its pod":        {objects: append(unplaced, pending, waitingClass("slow")), want: expect{incident.No, "", "", []string{"until its pod has a node"}}},
		"waits though it is there": {objects: withData(pending, waitingClass("slow")), want: expect{incident.Yes, "pvc/data", "Pending", nil}},
		"may not be read": {objects: withData(testClaim("data", "slow")), change: func(w *world) { w.refuse("get", "persistentvolumeclaims", "") },
			want: expect{incident.Unknown, "", "", []string{`resources ["persistentvolumeclaims"]`}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			if test.change != nil {
				test.change(w)
			}
			got := only(t, w.checked(t, w.CheckVolumes), incident.VolumeUnbound)
			test.want.compare(t, got)
			if containsSecret(got.Why) {
				t.Errorf("a secret is told: %s", got.Why)
			}
		})
	}
}

func TestCheckVolumesMount(t *testing.T) {
	starting := func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodPending
		trainerState(pod).State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	}
	refused := func(rank int, reason, message string, ago time.Duration) *corev1.Event {
		pod := testPod(rank, "")
		event := eventOf("Pod", pod.Name, reason, message, ago)
		event.InvolvedObject.UID = pod.UID
		return event
	}
	const nfs, multi = "mount.nfs: Connection timed out, password=abcdefghijklmnop", "Multi-Attach error for volume"
	for name, test := range map[string]struct {
		objects []runtime.Object
		change  func(*world)
		want    expect
	}{
		"none":    {objects: gang(2), want: expect{incident.No, "", "", []string{"last 30m"}}},
		"refused": {objects: append(gang(2, starting), refused(1, "FailedMount", nfs, time.Minute)), want: expect{incident.Yes, "pod/llama-70b-1-aaaaa", "FailedMount", []string{"1 of 2 pods", "mount.nfs"}}},
		"the newest": {objects: append(gang(2, starting), refused(1, "FailedMount", nfs, 2*time.Minute), refused(0, "FailedAttachVolume", multi, time.Minute)),
			want: expect{incident.Yes, "pod/llama-70b-0-aaaaa", "FailedAttachVolume", []string{"2 of 2 pods", "Multi-Attach"}}},
		"of yesterday":    {objects: append(gang(2, starting), refused(1, "FailedMount", nfs, 25*time.Hour)), want: expect{state: incident.No}},
		"another event":   {objects: append(gang(2, starting), refused(1, "FailedScheduling", "x", time.Minute)), want: expect{state: incident.No}},
		"may not be read": {objects: gang(2, starting), change: func(w *world) { w.refuse("list", "events", "") }, want: expect{incident.Unknown, "", "", []string{`resources ["events"]`}}},
		"no pods":         {objects: []runtime.Object{testJob(2)}, want: expect{incident.Unknown, "", "", []string{"has no pods"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			if test.change != nil {
				test.change(w)
			}
			got := only(t, w.checked(t, w.CheckVolumes), incident.VolumeMountFails)
			test.want.compare(t, got)
			if containsSecret(got.Why) {
				t.Errorf("a secret is told: %s", got.Why)
			}
		})
	}
}

// TestCheckVolumesOvercome: a refusal before the container started is over.
func TestCheckVolumesOvercome(t *testing.T) {
	pod := testPod(0, "", func(pod *corev1.Pod) {
		trainerState(pod).State.Running.StartedAt = metav1.NewTime(midday.Add(-time.Minute))
	})
	event := eventOf("Pod", pod.Name, "FailedMount", "x", 2*time.Minute)
	event.InvolvedObject.UID = pod.UID
	w := newWorld(t, testJob(1), pod, testNode(0), event)
	expect{incident.No, "", "", []string{"mounted now"}}.compare(t, only(t, w.checked(t, w.CheckVolumes), incident.VolumeMountFails))
}

func TestCheckVolumesClass(t *testing.T) {
	const gke, filestore = "pd.csi.storage.gke.io", "filestore.csi.storage.gke.io"
	ssd := testClass("premium-rwo", gke, "type", "pd-ssd")
	for name, test := range map[string]struct {
		objects []runtime.Object
		want    expect
	}{
		"no claims": {gang(2), expect{incident.No, "", "", nil}},
		"a slow disk": {withData(testClaim("data", "standard"), testClass("standard", gke, "type", "pd-standard"), ssd),
			expect{incident.Yes, "pvc/data", "standard, faster: premium-rwo", []string{"type pd-standard"}}},
		"the default type": {withData(testClaim("data", "plain"), testClass("plain", gke), ssd), expect{incident.Yes, "pvc/data", "plain, faster: premium-rwo", []string{"default type"}}},
		"an old driver's default": {withData(testClaim("data", "plain"), testClass("plain", "kubernetes.io/gce-pd"), ssd),
			expect{incident.Unknown, "", "plain", []string{"cannot be told"}}},
		"no faster one": {withData(testClaim("data", "standard"), testClass("standard", gke, "type", "pd-standard")), expect{incident.No, "", "standard", []string{"no faster class"}}},
		"a fast disk":   {withData(testClaim("data", "premium-rwo"), ssd), expect{incident.No, "", "premium-rwo", []string{"a fast one"}}},
		"many nodes need a shared one": {withData(testClaim("data", "nfs", many), testClass("nfs", filestore), ssd),
			expect{incident.No, "", "nfs", []string{"no faster class that could serve it"}}},
		"many nodes and a shared one": {withData(testClaim("data", "nfs", many), testClass("nfs", filestore), testClass("nfs-ssd", filestore, "tier", "BASIC_SSD"), ssd),
			expect{incident.Yes, "pvc/data", "nfs, faster: nfs-ssd", nil}},
		"Azure": {withData(testClaim("data", "a"), testClass("a", "disk.csi.azure.com", "skuName", "Standard_LRS"), testClass("b", "disk.csi.azure.com", "skuName", "Premium_LRS")),
			expect{incident.Yes, "pvc/data", "a, faster: b", nil}},
		"by words": {withData(testClaim("data", "standard-hdd"), testClass("standard-hdd", "example.com/disks"), testClass("premium-ssd", "example.com/disks")),
			expect{incident.Yes, "pvc/data", "standard-hdd, faster: premium-ssd", []string{"by its name"}}},
		"a parameter against the name": {withData(testClaim("data", "fast"), testClass("fast", "example.com/disks", "mediaType", "hdd"), testClass("premium-ssd", "example.com/disks")),
			expect{incident.Yes, "pvc/data", "fast, faster: premium-ssd", []string{"mediaType hdd"}}},
		"no words":         {withData(testClaim("data", "standard"), testClass("standard", "example.com/disks")), expect{incident.Unknown, "", "standard", []string{"cannot be told"}}},
		"without a class":  {withData(testClaim("data", ""), testVolume("data", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "filer"}})), expect{incident.Unknown, "", "", []string{"nfs filer"}}},
		"an unknown class": {withData(testClaim("data", "gone")), expect{incident.Unknown, "", "", []string{`"gone" is not in the cluster`}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			test.want.compare(t, only(t, w.checked(t, w.CheckVolumes), incident.VolumeClassSlow))
		})
	}
}
