package commtest

import (
	"embed"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

//go:embed script/*.py
var scripts embed.FS

const (
	// TestLabel marks the pods, Services and ConfigMaps of communication tests.
	TestLabel = "gpumedic.io/comm-test"
	// NodesAnnotation on the Job lists the group's nodes, so that a second
	// attempt joins only a test of the same group.
	NodesAnnotation = "gpumedic.io/comm-test-nodes"

	container  = "commtest"
	scriptDir  = "/opt/gpumedic"
	scriptFile = "commtest.py"
	gpuName    = "nvidia.com/gpu"
	masterPort = 29500
	// linger is how long the cluster keeps a finished test that nobody
	// removed: long enough for another attempt to read its logs.
	linger = 15 * time.Minute
	// slack is added to the Job's own deadline, which deletes pods with their
	// logs: ours must come first.
	slack = 2 * time.Minute
	// minMeet and maxMeet bound the check-in of the ranks.
	minMeet, maxMeet = 5 * time.Second, 2 * time.Minute
	// smallest message of the sweep, and the factor between two sizes.
	smallest, factor = 1 << 20, 4
)

// The collectives of a sweep. The judged bandwidth is that of allReduce.
const (
	allReduce = "all_reduce"
	allGather = "all_gather"
	sendRecv  = "sendrecv"
)

func ops() []string { return []string{allReduce, allGather, sendRecv} }

// Programs that measure; they are values of comm_test.tool.
const (
	ToolTorch = "torch"
	ToolNCCL  = "nccl-tests"
	toolAuto  = "auto"
)

// Sizes lists the message sizes of a sweep up to maxBytes, ascending.
func Sizes(maxBytes int64) []int64 {
	var sizes []int64
	for size := int64(smallest); size <= maxBytes; size *= factor {
		sizes = append(sizes, size)
	}
	return sizes
}

// jobFor is the Indexed Job of a group. backoffLimitPerIndex 0 instead of
// backoffLimit 0: with the latter the first rank that fails makes the cluster
// delete all others, and their logs with them.
func jobFor(p steps.RunCommTestParams, level testpods.Level) *batchv1.Job {
	ranks := ptr.To(int32(len(p.Group.Nodes)))
	lifetime := p.Settings.StartDeadline + p.Settings.Deadline + slack
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: p.Namespace, Labels: ownLabels(p.Incident),
			Annotations: nodesAnnotation(p.Group),
		},
		Spec: batchv1.JobSpec{
			Parallelism: ranks, Completions: ranks,
			CompletionMode:          ptr.To(batchv1.IndexedCompletion),
			BackoffLimitPerIndex:    ptr.To(int32(0)),
			PodReplacementPolicy:    ptr.To(batchv1.Failed),
			ActiveDeadlineSeconds:   ptr.To(int64(lifetime.Seconds())),
			TTLSecondsAfterFinished: ptr.To(int32(linger.Seconds())),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: podLabels(p), Annotations: annotations(p.Settings)},
				Spec:       podSpec(p, level),
			},
		},
	}
}

func podSpec(p steps.RunCommTestParams, level testpods.Level) corev1.PodSpec {
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		Subdomain:                     p.Name,
		Affinity:                      onePodOnEach(p, map[string]string{batchv1.JobNameLabel: p.Name}),
		Tolerations:                   tolerations(p.Settings.Tolerations),
		HostNetwork:                   p.Settings.HostNetwork,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To(int64(2)),
		SecurityContext:               testpods.PodContext(level),
		Containers:                    []corev1.Container{rankContainer(p, level)},
		Volumes: []corev1.Volume{
			{Name: "script", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.Name},
			}}},
			{Name: "shm", VolumeSource: corev1.VolumeSource{EmptyDir: sharedMemory(p.Settings)}},
			{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	}
	if p.Settings.HostNetwork {
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	return spec
}

func rankContainer(p steps.RunCommTestParams, level testpods.Level) corev1.Container {
	return corev1.Container{
		Name: container, Image: p.Settings.Image,
		Command:         []string{"python3", "-u", scriptDir + "/" + scriptFile},
		Env:             environment(p),
		Resources:       requirements(p.Settings),
		SecurityContext: testpods.ContainerContext(capabilities(p.Settings, level)...),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "script", MountPath: scriptDir, ReadOnly: true},
			{Name: "shm", MountPath: "/dev/shm"},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
}

// capabilities that the package comment tells of; nil where none is needed or allowed.
func capabilities(s incident.CommTestSettings, level testpods.Level) []corev1.Capability {
	if usesDevices(s) && level != testpods.Baseline && level != testpods.Restricted {
		return []corev1.Capability{"IPC_LOCK"}
	}
	return nil
}

// onePodOnEach allows exactly the group's nodes, by their names and not by a
// label that may differ from them, and never two ranks on one. Siblings are
// the labels of the test's ranks.
func onePodOnEach(p steps.RunCommTestParams, siblings map[string]string) *corev1.Affinity {
	terms := make([]corev1.NodeSelectorTerm, len(p.Group.Nodes))
	for i, node := range p.Group.Nodes {
		terms[i].MatchFields = []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}
	}
	return &corev1.Affinity{
		NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		},
		PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				LabelSelector: &metav1.LabelSelector{MatchLabels: siblings},
				TopologyKey:   corev1.LabelHostname,
			}},
		},
	}
}

func resources(s incident.CommTestSettings) corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, quantity := range s.Resources {
		list[corev1.ResourceName(name)] = resource.MustParse(quantity) // validate parsed it before
	}
	if s.GPUsPerNode > 0 {
		list[gpuName] = *resource.NewQuantity(int64(s.GPUsPerNode), resource.DecimalSI)
	}
	return list
}

func tolerations(settings []incident.Toleration) []corev1.Toleration {
	var list []corev1.Toleration
	for _, t := range settings {
		list = append(list, corev1.Toleration{
			Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value, Effect: corev1.TaintEffect(t.Effect),
		})
	}
	return list
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
