package cluster

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// CheckLoading answers P3 and P5, and what objects tell of P2: whether a local
// cache is declared for a remote dataset, how many loader workers there are for
// the CPUs, and whether the jobs that prepare the data fail. It reads only and
// may be repeated.
func (h *Hands) CheckLoading(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.CacheMissing, incident.CacheCold, incident.LoaderWorkersFew, incident.PreprocessingFail}
	return h.answer(ctx, steps.CheckLoading, params, questions, func(ctx context.Context, s scene) []incident.Finding {
		return append(append(s.caches(ctx), s.workersFew(ctx)), s.preparing(ctx)...)
	})
}

// workerCount is how many loader workers each process of a rank has.
type workerCount struct {
	// number is unknownIndex where it is not told; then from says why.
	number int
	from   string
}

// workerVariables and workerFlag are how programs are told the number when no
// knob is declared: PyTorch reads neither itself, its users' scripts do.
var (
	workerVariables = []string{"NUM_WORKERS", "DATALOADER_NUM_WORKERS", "DATALOADER_WORKERS", "NUM_DATA_WORKERS"}
	workerFlag      = regexp.MustCompile(`(?:^|\s)(--(?:data[-_]?loader[-_])?num[-_](?:data[-_])?workers)[=\s]+(\d+)\b`)
)

// loaderWorkers reads the number that a rank is told: by its declared knob, by
// a well-known flag, by a well-known variable, in that order.
func loaderWorkers(pod corev1.Pod, rank incident.Rank, env environment, knobs []incident.Knob) workerCount {
	container := containerNamed(pod, rank.Container)
	for _, knob := range knobs {
		if value, ok := turned(knob, incident.KnobWorkers, container, env); ok {
			return workersFrom(value, "knob "+orWord(knob.Env, knob.Arg))
		}
	}
	if found := workerFlag.FindStringSubmatch(commandLine(container, env)); found != nil {
		return workersFrom(setting{value: found[2]}, found[1])
	}
	for _, name := range workerVariables {
		if value, ok := env.vars[name]; ok {
			return workersFrom(value, name)
		}
	}
	return workerCount{unknownIndex, "no knob, no flag and no variable that is known tells it (PyTorch's own default is 0)"}
}

func workersFrom(value setting, from string) workerCount {
	number, err := strconv.Atoi(strings.TrimSpace(value.value))
	switch {
	case value.unknown != "":
		return workerCount{unknownIndex, fmt.Sprintf("%s is not known: %s", from, value.unknown)}
	case err != nil || number < 0:
		return workerCount{unknownIndex, fmt.Sprintf("%s is no number", from)}
	}
	return workerCount{number, from}
}

// commandLine is what a container is started with, its variables filled in as
// the kubelet does.
func commandLine(container *corev1.Container, env environment) string {
	if container == nil {
		return ""
	}
	return strings.Join(expanded(slices.Concat(container.Command, container.Args), env), " ")
}

func expanded(words []string, env environment) []string {
	var out []string
	for _, word := range words {
		out = append(out, expand(env, word).value)
	}
	return out
}

// workersFew compares the workers of all of a rank's processes, one for each
// GPU, with the CPUs that the rank may use. Less than half of them is few: each
// worker is one thread of its own.
func (s scene) workersFew(ctx context.Context) incident.Finding {
	return s.gravest(ctx, incident.LoaderWorkersFew, func(pod corev1.Pod, rank incident.Rank, workers workerCount) (incident.State, string, string) {
		return few(workers, max(1, rank.GPUs), cpusOf(containerNamed(pod, rank.Container)))
	})
}

// gravest asks every rank, which is told so many loader workers, and takes the
// answer of the one that is worst off.
func (s scene) gravest(ctx context.Context, id string,
	ask func(corev1.Pod, incident.Rank, workerCount) (state incident.State, value, why string)) incident.Finding {
	finding := s.finding(id)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	reader, declared := s.hands.newEnvReader(s.now.Target.Namespace), s.knobs()
	count := 0
	for i, pod := range s.pods {
		rank := s.rankOf(pod)
		state, value, why := ask(pod, rank, loaderWorkers(pod, rank, reader.read(ctx, rank, pod), declared))
		if state == incident.Yes {
			count++
		}
		if i == 0 || graver(state, finding.State) {
			finding.State, finding.Value, finding.Why, finding.Evidence = state, value, why, s.saw(pod)
		}
	}
	if finding.State == incident.Yes {
		finding.Why = s.share(count) + " " + finding.Why
	}
	return finding
}

// graver orders the answers about several ranks: one yes decides, and unknown
// is no "no".
func graver(a, b incident.State) bool {
	gravity := map[incident.State]int{incident.Yes: 2, incident.Unknown: 1}
	return gravity[a] > gravity[b]
}

func few(workers workerCount, processes int, cpus float64) (state incident.State, value, why string) {
	all := workers.number * processes
	value = fmt.Sprintf("%d workers of %g CPUs", all, cpus)
	switch {
	case workers.number == unknownIndex:
		return incident.Unknown, "", "how many loader workers there are is not told: " + workers.from
	case workers.number == 0 && cpus == 0:
		return incident.Yes, "0 workers", fmt.Sprintf("there are no loader workers (%s), so that each step waits for its own input", workers.from)
	case workers.number == 0:
		return incident.Yes, value, fmt.Sprintf("there are no loader workers (%s), so that each step waits for its own input while %g CPUs could prepare it", workers.from, cpus)
	case cpus == 0:
		return incident.Unknown, fmt.Sprintf("%d workers", all), fmt.Sprintf("there are %d loader workers (%s), and the container names neither a CPU limit nor a request to compare them with", all, workers.from)
	case float64(2*all) < cpus:
		return incident.Yes, value, fmt.Sprintf("%d loader workers (%s, %d processes) use less than half of the %g CPUs that a rank may use", all, workers.from, processes, cpus)
	}
	return incident.No, value, fmt.Sprintf("%d loader workers (%s, %d processes) are there for %g CPUs", all, workers.from, processes, cpus)
}

// cpusOf is the CPUs that a container may use, or else those it is sure to get;
// 0 when it names none.
func cpusOf(container *corev1.Container) float64 {
	if container == nil {
		return 0
	}
	for _, list := range []corev1.ResourceList{container.Resources.Limits, container.Resources.Requests} {
		if cpus, ok := list[corev1.ResourceCPU]; ok {
			return cpus.AsApproximateFloat64()
		}
	}
	return 0
}
