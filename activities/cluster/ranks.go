package cluster

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
)

// unknownIndex is the index of a rank whose place cannot be told.
const unknownIndex = -1

// Labels by which operators tell a pod's place.
const (
	kubeflowReplicaType  = "training.kubeflow.org/replica-type"
	kubeflowReplicaIndex = "training.kubeflow.org/replica-index"
	kubeflowRole         = "training.kubeflow.org/job-role"
	trainerStep          = "trainer.kubeflow.org/trainjob-ancestor-step"
	rayNodeType          = "ray.io/node-type"
	jobGlobalIndex       = "jobset.sigs.k8s.io/job-global-index"
	groupIndex           = "leaderworkerset.sigs.k8s.io/group-index"
	workerIndex          = "leaderworkerset.sigs.k8s.io/worker-index"
	groupSize            = "leaderworkerset.sigs.k8s.io/size"
	podIndex             = "apps.kubernetes.io/pod-index"
)

// controllerLabels are label prefixes that controllers put on pods. They are
// left out of the pod labels: Services and operators find their own pods by
// them, and a test pod that carried them would be taken for a rank.
var controllerLabels = []string{
	"batch.kubernetes.io/", "job-name", "controller-uid", "jobset.sigs.k8s.io/", "training.kubeflow.org/", "trainer.kubeflow.org/",
	"ray.io/", "leaderworkerset.sigs.k8s.io/", "volcano.sh/", "kueue.x-k8s.io/", "statefulset.kubernetes.io/", "apps.kubernetes.io/pod-index",
	"pod-template-hash", "controller-revision-hash",
}

// fillRanks reads ranks, names and the wanted number out of a target and what
// it owns.
func fillRanks(workload *incident.Workload, top *unstructured.Unstructured, found kin) {
	if how, known := suspendables[top.GetKind()]; known {
		suspended, _ := how.field.get(top.Object)
		workload.Suspended = suspended == true
	}
	jobs := sortedJobs(found.jobs)
	for _, job := range jobs {
		workload.JobNames = append(workload.JobNames, job.Name)
	}
	workload.WantedRanks = wantedRanks(top, jobs)
	indexes := indexer(top, jobs, found.pods)
	var ranks []incident.Rank
	pods := slices.Clone(found.pods)
	slices.SortFunc(pods, newestFirst)
	for _, pod := range pods {
		if isRank(top.GetKind(), pod) {
			ranks = append(ranks, rankOf(pod, indexes(pod)))
		}
	}
	workload.Ranks, workload.Earlier = newest(ranks, workload.WantedRanks)
	workload.OwnerChain = ownerChain(found, workload.Ranks)
	workload.PodLabels = podLabels(jobs, pods)
}

// newestFirst orders pods by age, the youngest first; names break ties so that
// the order never depends on chance.
func newestFirst(a, b corev1.Pod) int {
	if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// newest keeps the youngest pod of each index as the rank; the others are of
// earlier attempts. Of pods without an index, those that ended are earlier
// ones as long as there are more than wanted. Ranks come youngest first.
func newest(ranks []incident.Rank, wanted int) (now, earlier []incident.Rank) {
	taken, unplaced := map[int]bool{}, 0
	for _, rank := range ranks {
		if rank.Index == unknownIndex {
			unplaced++
		}
	}
	for i := len(ranks) - 1; i >= 0; i-- { // the oldest give way first
		rank := &ranks[i]
		if rank.Index == unknownIndex && unplaced > wanted && wanted > 0 && rank.Phase == string(corev1.PodFailed) {
			earlier, unplaced, rank.Pod = append(earlier, *rank), unplaced-1, ""
		}
	}
	for _, rank := range ranks {
		switch {
		case rank.Pod == "":
		case rank.Index != unknownIndex && taken[rank.Index]:
			earlier = append(earlier, rank)
		default:
			taken[rank.Index] = true
			now = append(now, rank)
		}
	}
	byPlace := func(a, b incident.Rank) int {
		if a.Index != b.Index {
			return a.Index - b.Index
		}
		return strings.Compare(a.Pod, b.Pod)
	}
	slices.SortStableFunc(now, byPlace)
	slices.Reverse(earlier)
	return now, earlier
}

// isRank leaves out pods that a target owns for other purposes.
func isRank(kind string, pod corev1.Pod) bool {
	if step := pod.Labels[trainerStep]; step != "" && step != "trainer" {
		return false // dataset and model initializers
	}
	return kind != "RayJob" || pod.Labels[rayNodeType] != "" // its submitter is a Job
}

func rankOf(pod corev1.Pod, index int) incident.Rank {
	rank := incident.Rank{
		Index: index, Pod: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, PodIP: pod.Status.PodIP,
		Phase: string(pod.Status.Phase), GPUs: podGPUs(pod.Spec), HostNetwork: pod.Spec.HostNetwork,
	}
	if main := mainContainer(pod); main != nil {
		rank.Container = main.Name
		for _, status := range pod.Status.ContainerStatuses {
			if status.Name == main.Name {
				rank.Restarts = int(status.RestartCount)
			}
		}
	}
	return rank
}

// mainContainer is the one that requests the most GPUs, else the one that is
// annotated as the default, else the first; nil for a pod without containers.
func mainContainer(pod corev1.Pod) *corev1.Container {
	var main *corev1.Container
	most := 0
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		if gpus := containerGPUs(*container); gpus > most {
			main, most = container, gpus
		}
	}
	if main != nil || len(pod.Spec.Containers) == 0 {
		return main
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == pod.Annotations["kubectl.kubernetes.io/default-container"] {
			return &pod.Spec.Containers[i]
		}
	}
	return &pod.Spec.Containers[0]
}

func containerGPUs(container corev1.Container) int {
	if gpus := gpusOf(container.Resources.Limits); gpus > 0 {
		return gpus
	}
	return gpusOf(container.Resources.Requests)
}

func podGPUs(spec corev1.PodSpec) int {
	total := 0
	for _, container := range spec.Containers {
		total += containerGPUs(container)
	}
	return total
}

// gpusOf counts GPU devices of any vendor ("nvidia.com/gpu"), slices included.
func gpusOf(resources corev1.ResourceList) int {
	total := 0
	for name, amount := range resources {
		if strings.HasSuffix(string(name), "/gpu") || strings.HasPrefix(string(name), "nvidia.com/mig-") || name == "nvidia.com/gpu.shared" {
			total += int(amount.Value())
		}
	}
	return total
}

// sortedJobs orders a target's Jobs as their operator counts them.
func sortedJobs(jobs []batchv1.Job) []batchv1.Job {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b batchv1.Job) int {
		if c := number(a.Labels[jobGlobalIndex]) - number(b.Labels[jobGlobalIndex]); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return jobs
}

// number reads a small number, unknownIndex when there is none.
func number(text string) int {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return n
	}
	return unknownIndex
}

// indexer returns how pods of a target are counted.
func indexer(top *unstructured.Unstructured, jobs []batchv1.Job, pods []corev1.Pod) func(corev1.Pod) int {
	offsets, next := map[types.UID]int{}, 0
	for _, job := range jobs {
		offsets[job.UID] = next
		next += jobRanks(job)
	}
	masters := 0
	for _, pod := range pods {
		if isMaster(pod) {
			masters = 1
		}
	}
	return func(pod corev1.Pod) int {
		if index := completionIndex(pod); index != unknownIndex {
			if ref := metav1.GetControllerOfNoCopy(&pod); ref != nil {
				return offsets[ref.UID] + index
			}
			return index
		}
		if top.GetKind() == "Pod" {
			return 0
		}
		return operatorIndex(pod, masters)
	}
}

// completionIndex is an Indexed Job's word on its pod.
func completionIndex(pod corev1.Pod) int {
	if text, ok := pod.Annotations[batchv1.JobCompletionIndexAnnotation]; ok {
		return number(text)
	}
	return number(pod.Labels[batchv1.JobCompletionIndexAnnotation])
}

func isMaster(pod corev1.Pod) bool {
	return pod.Labels[kubeflowReplicaType] == "master" || pod.Labels[kubeflowRole] == "master"
}

// operatorIndex is the place that an operator gives a pod: the master is rank
// 0 and the workers follow; MPI's launcher computes nothing and has none.
func operatorIndex(pod corev1.Pod, masters int) int {
	if isMaster(pod) {
		return 0
	}
	if pod.Labels[kubeflowRole] == "launcher" || pod.Labels[kubeflowReplicaType] == "launcher" {
		return unknownIndex
	}
	if index := number(pod.Labels[kubeflowReplicaIndex]); index != unknownIndex {
		return masters + index
	}
	if worker := number(pod.Labels[workerIndex]); worker != unknownIndex {
		return max(0, number(pod.Labels[groupIndex]))*max(1, number(pod.Annotations[groupSize])) + worker
	}
	return number(pod.Labels[podIndex])
}

// ownerChain is the way from a pod up to the target, by kinds.
func ownerChain(found kin, ranks []incident.Rank) []string {
	if len(ranks) == 0 {
		return nil
	}
	var chain []string
	for uid := types.UID(ranks[0].UID); found.kinds[uid] != "" && len(chain) <= maxOwners+1; uid = found.parents[uid] {
		chain = append(chain, found.kinds[uid])
	}
	return chain
}

// podLabels are those of the pod template, else those that all pods share,
// without what controllers add.
func podLabels(jobs []batchv1.Job, pods []corev1.Pod) map[string]string {
	shared := map[string]string{}
	add := func(labels map[string]string, first bool) {
		for key, value := range labels {
			if first && !slices.ContainsFunc(controllerLabels, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
				shared[key] = value
			}
		}
		for key, value := range shared {
			if labels[key] != value {
				delete(shared, key)
			}
		}
	}
	for i, job := range jobs {
		add(job.Spec.Template.Labels, i == 0)
	}
	for i, pod := range pods {
		if len(jobs) == 0 {
			add(pod.Labels, i == 0)
		}
	}
	return shared
}
