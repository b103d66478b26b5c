package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// dataset is a job whose ranks read from the claim "corpus" on slow disks.
type dataset struct {
	job       *batchv1.Job
	spec      *corev1.PodSpec
	container *corev1.Container
	claim     *corev1.PersistentVolumeClaim
	classes   []string
	// room is the ephemeral storage of every node.
	room   string
	params steps.PlanRemedyParams
}

// dataPlan plans a remedy for it after an alteration.
func dataPlan(t *testing.T, remedy string, alter func(*dataset)) steps.PlanRemedyResult {
	t.Helper()
	objects := networked(gang(2))
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("500Gi")}
	class := "site-hdd"
	d := &dataset{job: objects[0].(*batchv1.Job), classes: []string{class, "site-ssd"}, room: "7Ti",
		claim: &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "corpus", Namespace: "training", UID: "c"},
			Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeName: "pv", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
				Resources: corev1.VolumeResourceRequirements{Requests: size}},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: size}}}
	d.container = &corev1.Container{Name: "trainer", Image: "train:7", Env: env("CACHE_DIR", "/cache/images", "DATA_DIR", "/data/images"),
		Resources:    corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4")}},
		VolumeMounts: []corev1.VolumeMount{{Name: "dataset", MountPath: "/data", ReadOnly: true}, {Name: "cache", MountPath: "/cache"}}}
	d.spec = &d.job.Spec.Template.Spec
	d.spec.Volumes = []corev1.Volume{
		{Name: "dataset", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "corpus"}}},
		{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	alter(d)
	d.spec.Containers = []corev1.Container{*d.container}
	objects = append(objects, d.claim, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nas"}}}})
	for _, name := range d.classes {
		objects = append(objects, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "site.example.com/disk"})
	}
	return d.plan(t, remedy, objects)
}

func (d *dataset) plan(t *testing.T, remedy string, objects []runtime.Object) steps.PlanRemedyResult {
	t.Helper()
	for _, object := range objects {
		if node, ok := object.(*corev1.Node); ok && d.room != "" {
			node.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse(d.room)
		}
	}
	w := newWorld(t, objects...)
	w.dryCreates()
	d.params.Incident, d.params.Remedy, d.params.Risk, d.params.Workload, d.params.Fabric = "i", remedy, incident.RiskMedium, w.ranksEvidence(t, jobTarget), testFabric
	result, err := w.PlanRemedy(t.Context(), d.params)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func declares(text string) func(*dataset) {
	return func(d *dataset) { d.job.Annotations = map[string]string{incident.KnobAnnotation: text} }
}

func TestCachePlans(t *testing.T) {
	tests := map[string]struct {
		alter func(*dataset)
		want  []string
	}{
		"an empty place": {func(*dataset) {}, []string{"name: gpumedic-cache-dataset", "- /data/images\n+        - /cache/images", "ephemeral-storage: 500Gi", "image: train:7"}},
		"the declared size": {declares("- {role: cache-dir, env: CACHE_DIR, type: path, source: /data/images, size: 80Gi}"),
			[]string{"ephemeral-storage: 80Gi"}},
		"a variable that is not set": {func(d *dataset) {
			declares("- {role: cache-dir, env: LOCAL_COPY, type: path, source: /data/images}")(d)
			d.container.Env = nil
		}, []string{"name: LOCAL_COPY\n+          value: /var/cache/gpumedic/dataset", "sizeLimit: 500Gi\n+        name: gpumedic-cache", "mountPath: /var/cache/gpumedic/dataset"}},
		"a volume that is too small": {func(d *dataset) {
			small := resource.MustParse("10Gi")
			d.spec.Volumes[1].EmptyDir.SizeLimit = &small
		}, []string{"-          sizeLimit: 10Gi\n+          sizeLimit: 500Gi"}},
		"a limit of its own": {func(d *dataset) {
			d.container.Resources.Limits[corev1.ResourceEphemeralStorage] = resource.MustParse("20Gi")
		},
			[]string{"-            ephemeral-storage: 20Gi\n+            ephemeral-storage: 520Gi"}},
		"another image": {func(d *dataset) { d.params.Storage.Image = "tools:1" }, []string{"image: tools:1"}},
		"only what the user needs": {func(d *dataset) {
			yes, user := true, int64(1000)
			d.container.SecurityContext = &corev1.SecurityContext{Privileged: &yes, RunAsUser: &user, Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"IPC_LOCK"}}}
		}, []string{"+          allowPrivilegeEscalation: false\n           runAsUser: 1000\n"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := dataPlan(t, steps.CacheDataset, test.alter)
			if !result.Possible || len(result.Plan.Prepare) > 0 || !result.Plan.Restart {
				t.Fatalf("possible %t (%s), prepares %d, restarts %t", result.Possible, result.WhyNot, len(result.Plan.Prepare), result.Plan.Restart)
			}
			contains(t, result.Plan.Diff, test.want...)
		})
	}
}

func TestReasonsAgainstCaches(t *testing.T) {
	tests := map[string]struct {
		alter func(*dataset)
		why   string
		diff  bool
	}{
		"no room": {func(d *dataset) {
			d.room = "900Gi"
			d.claim.Status.Capacity[corev1.ResourceStorage] = resource.MustParse("8Ti")
		}, "900 GiB of ephemeral storage", true},
		"room is not told": {func(d *dataset) { d.room = "" }, "has 0 GiB of ephemeral storage", true},
		"no directory":     {func(d *dataset) { d.container.Env = nil }, "is not declared", false},
		"a library's":      {func(d *dataset) { d.container.Env = env("HF_HOME", "/cache") }, "a library's own layout", false},
		"on the network":   {func(d *dataset) { d.container.Env = env("CACHE_DIR", "/data/cache") }, "no place for a local copy", false},
		"in memory":        {func(d *dataset) { d.spec.Volumes[1].EmptyDir.Medium = "Memory" }, "in memory", false},
		"filled already": {func(d *dataset) {
			d.spec.InitContainers = []corev1.Container{{Name: "warm", VolumeMounts: []corev1.VolumeMount{{Name: "cache", MountPath: "/c"}}}}
		}, "init container warm fills", false},
		"from elsewhere": {func(d *dataset) {
			d.container.Env = []corev1.EnvVar{{Name: "CACHE_DIR", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}}
		}, "is not known", false},
		"a broken knob":  {declares("- {role: cache-dir}"), "is wrong", false},
		"source nowhere": {declares("- {role: cache-dir, env: CACHE_DIR, type: path, source: /else}"), "on no volume", false},
		"cache in the data": {func(d *dataset) {
			d.container.VolumeMounts[1].MountPath = "/data/images/cache"
			d.container.Env[0].Value = "/data/images/cache"
		}, "cannot be told apart", false},
		"two on the network": {func(d *dataset) {
			d.container.VolumeMounts = append(d.container.VolumeMounts, corev1.VolumeMount{Name: "dataset", MountPath: "/more"})
		}, "mounts 2 volumes over the network", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := dataPlan(t, steps.CacheDataset, test.alter)
			contains(t, result.WhyNot, test.why)
			if result.Possible || (result.Plan.Diff != "") != test.diff {
				t.Errorf("possible %t, diff %q", result.Possible, result.Plan.Diff)
			}
		})
	}
}

func TestStoragePlan(t *testing.T) {
	result := dataPlan(t, steps.FasterStorage, func(d *dataset) {
		d.params.Storage = incident.StorageSettings{Prices: map[string]float64{"site-ssd": 0.2}, Currency: "USD"}
	})
	if !result.Possible || len(result.Plan.Prepare) != 2 || len(result.Plan.Changes) != 1 {
		t.Fatalf("possible %t (%s), prepares %d, changes %d", result.Possible, result.WhyNot, len(result.Plan.Prepare), len(result.Plan.Changes))
	}
	contains(t, result.Plan.Summary, "500 GiB of class site-ssd cost 100.00 USD a month", "beside a price that is not declared", "until a person deletes it", "restart 2 ranks")
	claim, job := result.Plan.Prepare[0], result.Plan.Prepare[1]
	if claim.Kind != "PersistentVolumeClaim" || claim.Verb != verbCreate || job.Kind != "Job" || job.Verb != verbRun {
		t.Errorf("prepares %s %s, %s %s", claim.Verb, claim.Kind, job.Verb, job.Kind)
	}
	contains(t, string(claim.Manifest), `"storageClassName":"site-ssd"`, `"ReadWriteMany"`, `"storage":"500Gi"`)
	contains(t, string(job.Manifest), `"claimName":"corpus","readOnly":true`, `"activeDeadlineSeconds":86400`, `"backoffLimit":2`)
	contains(t, result.Plan.Diff, "-          claimName: corpus\n+          claimName: "+claim.Name+"\n", "kind: PersistentVolumeClaim", "kind: Job")
	other := result.Plan
	other.Prepare = other.Prepare[:1]
	if other.Seal().Hash == result.Plan.Hash {
		t.Error("what is prepared is not in the plan's hash")
	}
}

func TestReasonsAgainstFasterStorage(t *testing.T) {
	modes := func(modes ...corev1.PersistentVolumeAccessMode) func(*dataset) {
		return func(d *dataset) { d.claim.Spec.AccessModes = modes }
	}
	block := corev1.PersistentVolumeBlock
	tests := map[string]struct {
		alter func(*dataset)
		why   string
	}{
		"no faster class":     {func(d *dataset) { d.classes = d.classes[:1] }, "no faster class"},
		"a fast one already":  {func(d *dataset) { *d.claim.Spec.StorageClassName = "site-ssd" }, "no faster class"},
		"one pod alone":       {modes(corev1.ReadWriteOncePod), "ReadWriteOncePod"},
		"a block device":      {func(d *dataset) { d.claim.Spec.VolumeMode = &block }, "block device"},
		"not bound":           {func(d *dataset) { d.claim.Status.Phase = corev1.ClaimPending }, "is not bound"},
		"the ranks may write": {func(d *dataset) { d.container.VolumeMounts[0].ReadOnly = false }, "container trainer may write to claim corpus"},
		"no claim": {func(d *dataset) {
			d.spec.Volumes = d.spec.Volumes[1:]
			d.container.VolumeMounts = d.container.VolumeMounts[1:]
		}, "read from no claim"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := dataPlan(t, steps.FasterStorage, test.alter)
			contains(t, result.WhyNot, test.why)
			if result.Possible {
				t.Error("possible")
			}
		})
	}
	written := dataPlan(t, steps.FasterStorage, func(d *dataset) {
		d.container.VolumeMounts[0].ReadOnly = false
		declares("- {role: cache-dir, env: CACHE_DIR, type: path, source: /data/images}")(d)
	})
	if !written.Possible {
		t.Errorf("declared to be only read: %s", written.WhyNot)
	}
}

func TestCopyOfADiskRunsWhereItIsAttached(t *testing.T) {
	result := dataPlan(t, steps.FasterStorage, func(d *dataset) { d.claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce} })
	contains(t, string(result.Plan.Prepare[1].Manifest), `"nodeSelector":{"kubernetes.io/hostname":"`)
	shared := dataPlan(t, steps.FasterStorage, func(d *dataset) { d.claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany} })
	contains(t, string(shared.Plan.Prepare[0].Manifest), `"accessModes":["ReadOnlyMany","ReadWriteMany"]`)
}

// TestCopyScript runs the real script with this machine's shell, find and cp.
func TestCopyScript(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "place")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	copied := func() (string, error) {
		said, err := exec.Command("/bin/sh", "-c", copyScript, "gpumedic", from, to).CombinedOutput()
		return string(said), err
	}
	write("a b/'q'.tar", "one")
	write(".hidden", "two")
	write("lost+found/x", "not ours")
	for range 2 { // twice is once
		if said, err := copied(); err != nil || !strings.Contains(said, "2 files there, 2 files here") {
			t.Fatalf("%v: %s", err, said)
		}
	}
	for name, want := range map[string]string{"a b/'q'.tar": "one", ".hidden": "two", "lost+found/x": ""} {
		if got, _ := os.ReadFile(filepath.Join(to, name)); string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	write(".hidden", "three")
	if err := os.WriteFile(filepath.Join(to, ".hidden"), []byte("half"), 0o600); err != nil { // an attempt that was cut
		t.Fatal(err)
	}
	if said, err := copied(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if got, _ := os.ReadFile(filepath.Join(to, ".hidden")); string(got) != "three" {
		t.Errorf("a cut copy stays: %q", got)
	}
	if err := os.RemoveAll(from); err != nil {
		t.Fatal(err)
	}
	if said, err := copied(); err == nil {
		t.Errorf("a dataset that is not there was copied: %s", said)
	}
}
