package cluster

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
)

func withArgs(args ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { trainerOf(pod).Args = args }
}

func knob(text string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[incident.KnobAnnotation] = text }
}

func TestCheckLoadingWorkers(t *testing.T) {
	cpus := func(n string) func(*corev1.Pod) { return both(limited("cpu", n), limited("nvidia.com/gpu", "1")) }
	for name, test := range map[string]struct {
		ranks []func(*corev1.Pod)
		want  expect
	}{
		"not told":            {[]func(*corev1.Pod){cpus("8")}, expect{incident.Unknown, "", "", []string{"default is 0"}}},
		"none":                {[]func(*corev1.Pod){both(cpus("8"), withArgs("--num-workers=0"))}, expect{incident.Yes, "", "0 workers of 8 CPUs", []string{"on 1 of 1 ranks", "--num-workers"}}},
		"few":                 {[]func(*corev1.Pod){both(cpus("8"), withArgs("--num_workers", "1"))}, expect{incident.Yes, "", "1 workers of 8 CPUs", []string{"less than half"}}},
		"enough":              {[]func(*corev1.Pod){both(cpus("8"), withEnv("NUM_WORKERS", "4"))}, expect{incident.No, "", "4 workers of 8 CPUs", nil}},
		"in a shell's line":   {[]func(*corev1.Pod){both(cpus("8"), withArgs("-c", "exec python train.py --dataloader_num_workers 6 --x"))}, expect{incident.No, "", "6 workers of 8 CPUs", nil}},
		"from a variable":     {[]func(*corev1.Pod){both(cpus("8"), withEnv("W", "5"), withArgs("--num-workers=$(W)"))}, expect{incident.No, "", "5 workers of 8 CPUs", nil}},
		"for each GPU":        {[]func(*corev1.Pod){both(limited("cpu", "32"), withEnv("NUM_WORKERS", "4"))}, expect{incident.No, "", "16 workers of 32 CPUs", []string{"4 processes"}}},
		"the knob first":      {[]func(*corev1.Pod){both(cpus("8"), knob("[{role: loader-workers, arg: -j, type: int, max: 8}]"), withArgs("-j", "1", "--num-workers=8"))}, expect{incident.Yes, "", "1 workers of 8 CPUs", []string{"knob -j"}}},
		"a knob of the env":   {[]func(*corev1.Pod){both(cpus("8"), knob("[{role: loader-workers, env: MY_LOADERS, type: int, max: 8}]"), withEnv("MY_LOADERS", "0"))}, expect{incident.Yes, "", "0 workers of 8 CPUs", []string{"knob MY_LOADERS"}}},
		"another's knob":      {[]func(*corev1.Pod){both(cpus("8"), knob("[{role: loader-workers, container: sidecar, env: W, type: int, max: 8}]"), withEnv("W", "0"))}, expect{incident.Unknown, "", "", nil}},
		"no number":           {[]func(*corev1.Pod){both(cpus("8"), withEnv("NUM_WORKERS", "auto"))}, expect{incident.Unknown, "", "", []string{"no number"}}},
		"no CPUs named":       {[]func(*corev1.Pod){withEnv("NUM_WORKERS", "1")}, expect{incident.Unknown, "", "4 workers", []string{"neither a CPU limit nor a request"}}},
		"none, no CPUs named": {[]func(*corev1.Pod){withEnv("NUM_WORKERS", "0")}, expect{incident.Yes, "", "0 workers", nil}},
		"one rank of two":     {[]func(*corev1.Pod){both(cpus("8"), withEnv("NUM_WORKERS", "8")), both(cpus("8"), withEnv("NUM_WORKERS", "0"))}, expect{incident.Yes, "", "0 workers of 8 CPUs", []string{"on 1 of 2 ranks"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ranksThat(test.ranks...)...)
			test.want.compare(t, only(t, w.checked(t, w.CheckLoading), incident.LoaderWorkersFew))
		})
	}
}

func TestCheckLoadingCache(t *testing.T) {
	scratch := mounted("/scratch", "scratch", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	nfs := mounted("/data", "data", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "filer", Path: "/sets"}})
	fuse := mounted("/data", "data", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "gcsfuse.csi.storage.gke.io"}})
	disk := []runtime.Object{testClaim("data", "x"), testVolume("data", corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com"}})}
	local := []runtime.Object{testClaim("data", "x"), testVolume("data", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/nvme"}})}
	for name, test := range map[string]struct {
		pod    func(*corev1.Pod)
		more   []runtime.Object
		change func(*world)
		want   expect
	}{
		"nothing is told":            {want: expect{incident.Unknown, "", "", []string{"neither by volumes nor by addresses"}}},
		"NFS without a cache":        {pod: nfs, want: expect{incident.Yes, "", "lies on the NFS share /sets of filer", []string{"no local cache"}}},
		"object store by FUSE":       {pod: fuse, want: expect{incident.Yes, "", "lies on volume data of driver gcsfuse.csi.storage.gke.io", nil}},
		"an address":                 {pod: withArgs("--data=s3://bucket/shards?X-Amz-Signature=abcdefghijklmnop"), want: expect{incident.Yes, "", "s3://bucket/shards", nil}},
		"an address of something":    {pod: withEnv("MLFLOW_URI", "https://mlflow.example.com"), want: expect{state: incident.Unknown}},
		"a path of the node":         {pod: mounted("/data", "data", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/mnt/lustre"}}), want: expect{state: incident.Unknown, why: []string{"/mnt/lustre"}}},
		"a disk behind a claim":      {pod: onClaim("data"), more: disk, want: expect{incident.Yes, "", "lies on volume pv-data of ebs.csi.aws.com, behind claim data", nil}},
		"a local disk":               {pod: onClaim("data"), more: local, want: expect{state: incident.Unknown, why: []string{"no local cache is declared"}}},
		"a claim that is not there":  {pod: onClaim("data"), want: expect{state: incident.Unknown, why: []string{"persistentvolumeclaim training/data"}}},
		"a cache on the node":        {pod: both(nfs, scratch, withEnv("HF_HOME", "/scratch/hf")), want: expect{incident.No, "", "/scratch/hf", []string{"HF_HOME=/scratch/hf", "emptyDir scratch"}}},
		"a cache on the network":     {pod: both(nfs, withEnv("HF_HOME", "/data/hf")), want: expect{incident.Yes, "", "/data/hf", []string{"NFS share"}}},
		"a cache in the layer":       {pod: both(nfs, withEnv("HF_HOME", "/root/.cache")), want: expect{incident.No, "", "/root/.cache", []string{"own layer"}}},
		"a path that only begins so": {pod: both(nfs, withEnv("HF_HOME", "/database")), want: expect{incident.No, "", "/database", []string{"own layer"}}},
		"the nearest mount":          {pod: both(nfs, mounted("/data/cache", "c", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), withEnv("HF_HOME", "/data/cache/x")), want: expect{incident.No, "", "/data/cache/x", []string{"emptyDir c"}}},
		"a local disk for a cache":   {pod: both(onClaim("data"), withEnv("HF_HOME", "/data/hf")), more: local, want: expect{incident.No, "", "/data/hf", []string{"local volume pv-data"}}},
		"a knob":                     {pod: both(scratch, knob("[{role: cache-dir, arg: --cache, type: path}]"), withArgs("--cache", "/scratch/c")), want: expect{incident.No, "", "/scratch/c", []string{"knob --cache"}}},
		"the datasets' own first":    {pod: both(nfs, scratch, withEnv("HF_HOME", "/scratch", "HF_DATASETS_CACHE", "/data/sets")), want: expect{incident.Yes, "", "/data/sets", []string{"HF_DATASETS_CACHE"}}},
		"a script's own":             {pod: both(nfs, scratch, withEnv("CACHE_DIR", "/scratch/c")), want: expect{incident.No, "", "/scratch/c", []string{"CACHE_DIR"}}},
		"from a secret": {pod: envValueFrom("HF_HOME", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "k"}}}),
			want: expect{incident.Unknown, "", "", []string{"never read"}}},
		"volumes may not be read": {pod: onClaim("data"), more: disk, change: func(w *world) { w.refuse("get", "persistentvolumes", "") }, want: expect{incident.Unknown, "", "", []string{`resources ["persistentvolumes"]`}}},
	} {
		t.Run(name, func(t *testing.T) {
			options := []func(*corev1.Pod){}
			if test.pod != nil {
				options = append(options, test.pod)
			}
			w := newWorld(t, append(gang(2, options...), test.more...)...)
			if test.change != nil {
				test.change(w)
			}
			got := only(t, w.checked(t, w.CheckLoading), incident.CacheMissing)
			test.want.compare(t, got)
			if containsSecret(got.Why + got.Value) {
				t.Errorf("a secret is told: %+v", got)
			}
		})
	}
}

func TestCheckLoadingColdCache(t *testing.T) {
	scratch := both(mounted("/scratch", "scratch", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), withEnv("HF_HOME", "/scratch/hf"))
	young := func(pod *corev1.Pod) {
		trainerState(pod).State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(midday.Add(-5 * time.Minute))}
	}
	warmed := func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "warm", VolumeMounts: []corev1.VolumeMount{{Name: "scratch", MountPath: "/to"}}}}
	}
	kept := both(mounted("/scratch", "scratch", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nvme"}}), withEnv("HF_HOME", "/scratch/hf"))
	for name, test := range map[string]struct {
		pod  func(*corev1.Pod)
		want expect
	}{
		"none":              {both(young), expect{incident.No, "", "", []string{"no local cache"}}},
		"just started":      {both(scratch, young), expect{incident.Yes, "", "/scratch/hf", []string{"5m ago", "no init container"}}},
		"filled at first":   {both(scratch, young, warmed), expect{incident.No, "", "/scratch/hf", []string{"warm"}}},
		"an hour old":       {both(scratch), expect{incident.Unknown, "", "/scratch/hf", nil}},
		"not started":       {both(scratch, backOff), expect{incident.Unknown, "", "/scratch/hf", nil}},
		"outlives the pods": {both(kept, young), expect{incident.Unknown, "", "/scratch/hf", []string{"/nvme"}}},
		"in the layer":      {both(young, withEnv("HF_HOME", "/root/hf")), expect{incident.Yes, "", "/root/hf", []string{"own layer"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2, test.pod)...)
			test.want.compare(t, only(t, w.checked(t, w.CheckLoading), incident.CacheCold))
		})
	}
}

func prepJob(name string, status batchv1.JobStatus, options ...func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training", UID: types.UID(name + "-uid"), Labels: map[string]string{preparesLabel: "llama-70b"}}, Status: status}
	for _, option := range options {
		option(job)
	}
	return job
}

func TestCheckLoadingPreparers(t *testing.T) {
	condition := func(kind batchv1.JobConditionType) []batchv1.JobCondition {
		return []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "token=abcdefghijklmnop"}}
	}
	unlabelled := func(job *batchv1.Job) { job.Labels = nil }
	byOwner := func(kind string) func(*batchv1.Job) {
		return func(job *batchv1.Job) { job.Labels = nil; ownedBy(job, "x/v1", kind, "run", "owner-uid") }
	}
	owned := func(kind string) []runtime.Object {
		objects := gang(2)
		ownedBy(objects[0].(*batchv1.Job), "x/v1", kind, "run", "owner-uid")
		return objects
	}
	for name, test := range map[string]struct {
		objects []runtime.Object
		want    expect
	}{
		"none":                  {objects: gang(2), want: expect{incident.No, "", "", []string{"gpumedic.io/prepares=llama-70b"}}},
		"gave up":               {objects: append(gang(2), prepJob("prep", batchv1.JobStatus{Failed: 7, Conditions: condition(batchv1.JobFailed)})), want: expect{incident.Yes, "job/prep", "failed 7, active 0, succeeded 0", []string{"BackoffLimitExceeded"}}},
		"fails and tries again": {objects: append(gang(2), prepJob("prep", batchv1.JobStatus{Failed: 2, Active: 1})), want: expect{incident.Yes, "job/prep", "failed 2, active 1, succeeded 0", []string{"has not completed"}}},
		"failed and completed":  {objects: append(gang(2), prepJob("prep", batchv1.JobStatus{Failed: 1, Succeeded: 1, Conditions: condition(batchv1.JobComplete)})), want: expect{incident.No, "", "", []string{"prep (failed 1, active 0, succeeded 1)"}}},
		"runs":                  {objects: append(gang(2), prepJob("prep", batchv1.JobStatus{Active: 1})), want: expect{incident.No, "", "", []string{"active 1"}}},
		"another's":             {objects: append(gang(2), prepJob("prep", batchv1.JobStatus{Failed: 2}, unlabelled)), want: expect{state: incident.No}},
		"of one owner":          {objects: append(owned("Workflow"), prepJob("prep", batchv1.JobStatus{Failed: 2}, byOwner("Workflow"))), want: expect{incident.Yes, "job/prep", "failed 2, active 0, succeeded 0", nil}},
		"an earlier run":        {objects: append(owned("CronJob"), prepJob("prep", batchv1.JobStatus{Failed: 2}, byOwner("CronJob"))), want: expect{state: incident.No}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			got := only(t, w.checked(t, w.CheckLoading), incident.PreprocessingFail)
			test.want.compare(t, got)
			if containsSecret(got.Why) {
				t.Errorf("a secret is told: %s", got.Why)
			}
		})
	}
}
