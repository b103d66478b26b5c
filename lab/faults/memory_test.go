package faults_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
	"gpumedic/runbooks"
)

// observed reads what the ranks printed as an incident does.
func observed(t *testing.T, endings []ending) []incident.Observation {
	t.Helper()
	classifier, err := runbooks.Classifier("")
	if err != nil {
		t.Fatal(err)
	}
	collector := diagnosis.NewCollector()
	for rank, e := range endings {
		evidence := fmt.Sprintf("logs/rank-%03d.log", rank)
		err := classifier.Scan(context.Background(), strings.NewReader(e.text), func(m diagnosis.Match) error { collector.Add(rank, evidence, m); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	return collector.Observations()
}

// first is the observation of a signature.
func first(t *testing.T, list []incident.Observation, signature string) incident.Observation {
	t.Helper()
	for _, o := range list {
		if o.Signature == signature {
			return o
		}
	}
	t.Fatalf("nobody said %s; said was %v", signature, signatures(list))
	panic("unreachable")
}

func signatures(list []incident.Observation) []string {
	var names []string
	for _, o := range list {
		names = append(names, o.Signature)
	}
	return names
}

// died are the ranks that ended with an exit.
func died(endings []ending, exit kubelet.Exit, word string) []int {
	var ranks []int
	for rank, e := range endings {
		if e.exit == exit && strings.Contains(e.text, word) {
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

const outOfMemory = "CUDA out of memory"

// TestMemoryIsReadFromThePrintedNumbers: what the model prints leads diagnosis
// to what the model does.
func TestMemoryIsReadFromThePrintedNumbers(t *testing.T) {
	for scenario, cause := range map[string]string{
		"oom-fragmentation": "memory-fragmentation", "oom-allocator-useless": "memory-fragmentation", "oom-behind-nccl": "memory-fragmentation",
		"oom-capacity-knob": "true-capacity-oom", "oom-capacity-no-knob": "true-capacity-oom", "oom-capacity-larger-gpu": "true-capacity-oom",
		"oom-foreign-process": "other-process-on-gpu",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			endings := set(t, scenario).run(nil)
			o := first(t, observed(t, endings), "torch-cuda-oom")
			if o.FailureCase != "cuda-oom" || len(o.Causes) == 0 || o.Causes[0] != cause || o.Weight < 0.7 {
				t.Errorf("read as %s %v with weight %.2f from %s", o.FailureCase, o.Causes, o.Weight, o.Line)
			}
			for rank, e := range endings {
				checkNCCL(t, host(rank), e.text)
			}
		})
	}
}

func TestOneRankOfAFragmentingJobDiesFirst(t *testing.T) {
	st := set(t, "oom-fragmentation")
	endings := st.run(nil)
	first := died(endings, kubelet.Exit{Code: 1}, outOfMemory)
	if len(first) != 1 {
		t.Fatalf("ranks %v ran out of memory, want one", first)
	}
	for rank, e := range endings {
		want(t, host(rank), e.text, of(rank, `^\[rank%\]: step 9/`))
		if rank != first[0] {
			want(t, host(rank), e.text, `Connection closed by remote peer `+host(first[0])+`\.`, of(rank, `^\[rank%\]: ncclRemoteError: `))
		}
	}
	t.Run("again at the same step", func(t *testing.T) {
		st.restart = 1
		again := st.run(nil)
		if a, b := steps(endings[first[0]].text), steps(again[first[0]].text); a != b || a < 8 {
			t.Errorf("died after %d steps, then after %d", a, b)
		}
	})
}

func steps(text string) int { return strings.Count(text, ": step ") }

// TestAllocatorSettings: who reads which variable depends on the release.
func TestAllocatorSettings(t *testing.T) {
	const useful = "backend:native,expandable_segments:True"
	for name, c := range map[string]struct {
		image, variable, value string
		heals                  bool
	}{
		"the variable of 2.1 to 2.8":    {"1", "PYTORCH_CUDA_ALLOC_CONF", useful, true},
		"the variable of 2.9, too soon": {"1", "PYTORCH_ALLOC_CONF", useful, false},
		"the variable of 2.9":           {"torch-2.9.1", "PYTORCH_ALLOC_CONF", useful, true},
		"the old variable in 2.9":       {"torch-2.9.1", "PYTORCH_CUDA_ALLOC_CONF", useful, true},
		"said no":                       {"1", "PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False", false},
		"another setting":               {"1", "PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := set(t, "oom-fragmentation")
			st.edit(setenv(c.variable, c.value))
			st.edit(func(_ int, c2 *corev1.Container) { c2.Image = faults.TrainImage + ":" + c.image })
			st.open()
			endings := st.run(st.trained(14))
			if healed := len(died(endings, kubelet.Exit{Code: 1}, outOfMemory)) == 0; healed != c.heals {
				t.Errorf("healed %v:\n%s", healed, endings[0].text)
			}
		})
	}
	useless := set(t, "oom-allocator-useless")
	useless.edit(setenv("PYTORCH_CUDA_ALLOC_CONF", useful))
	endings := useless.run(nil)
	want(t, host(0), endings[0].text, `expandable_segments not supported on this platform`)
	if len(died(endings, kubelet.Exit{Code: 1}, outOfMemory)) != 1 {
		t.Error("nobody died although the driver knows no such segments")
	}
}

// TestWordsOfReleases: PyTorch's own slip, name of the class and advice.
func TestWordsOfReleases(t *testing.T) {
	for release, words := range map[string]string{
		"2.1.2": `torch\.cuda\.OutOfMemoryError: CUDA out of memory\. .* total capacty of 79\.10 GiB of which .* try setting max_split_size_mb to`,
		"2.4.0": `torch\.cuda\.OutOfMemoryError: .* total capacity of .* PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`,
		"2.9.0": `torch\.OutOfMemoryError: .* total capacity of .* PYTORCH_ALLOC_CONF=expandable_segments:True`,
	} {
		st := set(t, "oom-capacity-knob")
		st.edit(func(_ int, c *corev1.Container) { c.Image = faults.TrainImage + ":torch-" + release })
		endings := st.run(nil)
		want(t, release, endings[0].text, `^\[rank0\]: `+words)
		if o := first(t, observed(t, endings), "torch-cuda-oom"); o.Causes[0] != "true-capacity-oom" {
			t.Errorf("%s is read as %v", release, o.Causes)
		}
	}
}

// TestCapacityFollowsTheKnobs: env and both forms of the argument.
func TestCapacityFollowsTheKnobs(t *testing.T) {
	args := func(values ...string) func(int, *corev1.Container) {
		return func(_ int, c *corev1.Container) { c.Args = values }
	}
	for name, c := range map[string]struct {
		change func(int, *corev1.Container)
		fits   bool
	}{
		"as it is":          {func(int, *corev1.Container) {}, false},
		"env":               {setenv("MICRO_BATCH", "4"), true},
		"argument":          {args("--micro-batch", "4"), true},
		"argument with =":   {args("--micro-batch=4"), true},
		"not small enough":  {args("--micro-batch=7", "--accumulation=5"), true},
		"wider numbers":     {setenv("PRECISION", "fp32"), false},
		"fp32 and a fourth": {args("--precision=fp32", "--micro-batch=2"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := set(t, "oom-capacity-knob")
			st.edit(c.change)
			st.open()
			if fits := len(died(st.run(st.trained(2)), kubelet.Exit{Code: 1}, outOfMemory)) == 0; fits != c.fits {
				t.Errorf("fits: %v", fits)
			}
		})
	}
	st := set(t, "oom-capacity-knob")
	st.edit(setenv("MICRO_BATCH", "eight"))
	e := st.run(nil)[0]
	want(t, "rank 0", e.text, `train\.py: error: argument --micro-batch: invalid int value: 'eight'$`)
	if e.exit.Code != 2 {
		t.Errorf("ended with %+v", e.exit)
	}
}

// TestSliceIsSmall: what a program gets is what its resource is called.
func TestSliceIsSmall(t *testing.T) {
	st := set(t, "oom-fragmentation")
	st.edit(func(_ int, c *corev1.Container) {
		c.Resources.Limits["nvidia.com/mig-3g.40gb"] = resource.MustParse("1")
		delete(c.Resources.Limits, "nvidia.com/gpu")
	})
	want(t, "rank 0", st.run(nil)[0].text, `total capacity of 38\.80 GiB`)
}

func TestLeakIsSeenInTheReports(t *testing.T) {
	list := observed(t, set(t, "oom-leak").run(nil))
	if o := first(t, list, "memory-report"); len(o.Causes) == 0 || o.Causes[0] != "memory-leak-growth" {
		t.Errorf("reports are read as %v", o.Causes)
	}
	if o := first(t, list, "torch-cuda-oom"); o.Causes[0] == "memory-fragmentation" {
		t.Errorf("a leak is read as %v", o.Causes)
	}
}

func TestFragmentsAreNoLeak(t *testing.T) {
	for _, o := range observed(t, set(t, "oom-fragmentation").run(nil)) {
		if o.Signature == "memory-report" && len(o.Causes) > 0 {
			t.Errorf("reports of a steady program are read as %v", o.Causes)
		}
	}
}

func TestHostLimitKills(t *testing.T) {
	killed := kubelet.Exit{Code: 137, Reason: "OOMKilled"}
	st := set(t, "oom-host-limit")
	ranks := died(st.run(nil), killed, "step 5/")
	if len(ranks) == 0 {
		t.Error("nobody was killed")
	}
	for limit, fits := range map[string]bool{"68Gi": false, "80Gi": true} {
		st := set(t, "oom-host-limit")
		st.edit(func(_ int, c *corev1.Container) {
			c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(limit)
		})
		st.open()
		if alive := len(died(st.run(st.trained(10)), killed, "")) == 0; alive != fits {
			t.Errorf("with %s nobody was killed: %v", limit, alive)
		}
	}
}

func TestShmIsTheVolumes(t *testing.T) {
	list := observed(t, set(t, "oom-shm").run(nil))
	if o := first(t, list, "loader-bus-error"); o.Causes[0] != "shm-too-small" {
		t.Errorf("read as %v", o.Causes)
	}
	for size, fits := range map[string]bool{"1Gi": false, "2Gi": true} {
		st := set(t, "oom-shm")
		limit := resource.MustParse(size)
		for _, pod := range st.pods {
			pod.Spec.Volumes = []corev1.Volume{{Name: "dshm", VolumeSource: corev1.VolumeSource{
				EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit},
			}}}
		}
		st.edit(func(_ int, c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "dshm", MountPath: "/dev/shm"}}
		})
		st.open()
		if alive := len(died(st.run(st.trained(5)), kubelet.Exit{Code: 1}, "Bus error")) == 0; alive != fits {
			t.Errorf("with %s nobody died: %v", size, alive)
		}
	}
}

// TestForeignProcessIsTheNodes: on other nodes the same job trains.
func TestForeignProcessIsTheNodes(t *testing.T) {
	st := set(t, "oom-foreign-process")
	endings := st.run(nil)
	if ranks := died(endings, kubelet.Exit{Code: 1}, outOfMemory); len(ranks) != 1 || ranks[0] != 3 {
		t.Errorf("ranks %v ran out of memory, want the one on the tenant's node", ranks)
	}
	want(t, host(3), endings[3].text, `Process 4242 has 61\.00 GiB memory in use\. Including non-PyTorch memory, this process has`)
	reject(t, host(3), endings[3].text, `step 1/`)
	moved := set(t, "oom-foreign-process")
	moved.pods[3].Spec.NodeName = "gpu-09"
	moved.open()
	moved.run(moved.trained(2))
	if got := moved.pods[3].Labels[batchv1.JobNameLabel]; got == "" {
		t.Fatal("the ranks carry no job")
	}
}

func TestTrainingsAreChecked(t *testing.T) {
	named := faults.Training{Namespace: "n", Job: "j"}
	fill := func(change func(*faults.Training)) faults.Script {
		training := named
		change(&training)
		return faults.Script{Trainings: []faults.Training{training}}
	}
	for name, s := range map[string]faults.Script{
		"training of no job":    {Trainings: []faults.Training{{}}},
		"fragments of nothing":  fill(func(t *faults.Training) { t.GPU.Fragments = 1 }),
		"less than nothing":     fill(func(t *faults.Training) { t.GPU.Weights = -1 }),
		"cache without steps":   fill(func(t *faults.Training) { t.Host.Cache = 1 }),
		"tenant of no node":     {Tenants: []faults.Tenant{{PID: 1, GiB: 1}}},
		"storage without speed": {Storage: []faults.Storage{{Class: "c"}}},
	} {
		if s.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := fill(func(*faults.Training) {}).Check(); err != nil {
		t.Error(err)
	}
}
