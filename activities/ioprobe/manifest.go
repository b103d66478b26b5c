package ioprobe

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
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
	// Label marks the Jobs, pods and ConfigMaps of probes.
	Label = "gpumedic.io/io-probe"
	// NodeAnnotation on the Job names the node, so that a second attempt joins
	// only a probe from there.
	NodeAnnotation = "gpumedic.io/io-probe-node"

	container  = "ioprobe"
	scriptDir  = "/opt/gpumedic"
	scriptFile = "ioprobe.py"
	// streams read side by side, as a loader's workers do.
	streams = 4
	// linger is how long the cluster keeps a finished probe that nobody
	// removed: long enough for another attempt to read its log.
	linger = 15 * time.Minute
	// slack is added to the Job's own deadline, which deletes the pod with its
	// log: ours must come first.
	slack = 2 * time.Minute
)

func ownLabels(incidentID string) map[string]string {
	return map[string]string{steps.OwnerLabel: steps.OwnerValue(incidentID), Label: "true"}
}

// jobFor is one pod that is tried once.
func jobFor(p steps.RunIOProbeParams, at place, level testpods.Level) *batchv1.Job {
	lifetime := p.Settings.StartDeadline + p.Settings.Deadline + slack
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: p.Namespace, Labels: ownLabels(p.Incident), Annotations: map[string]string{NodeAnnotation: at.node},
		},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To(int32(1)), Completions: ptr.To(int32(1)), BackoffLimit: ptr.To(int32(0)),
			PodReplacementPolicy:    ptr.To(batchv1.Failed),
			ActiveDeadlineSeconds:   ptr.To(int64(lifetime.Seconds())),
			TTLSecondsAfterFinished: ptr.To(int32(linger.Seconds())),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: ownLabels(p.Incident)},
				Spec:       podSpec(p, at, level),
			},
		},
	}
}

func podSpec(p steps.RunIOProbeParams, at place, level testpods.Level) corev1.PodSpec {
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		Affinity:                      onNode(at.node),
		Tolerations:                   at.pod.Spec.Tolerations,
		ImagePullSecrets:              at.pod.Spec.ImagePullSecrets,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To(int64(2)),
		SecurityContext:               podContext(at, level),
		Containers:                    []corev1.Container{reader(p, at)},
		Volumes: []corev1.Volume{
			{Name: "gpumedic-script", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: p.Name},
			}}},
			{Name: "gpumedic-tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(64<<20, resource.BinarySI)}}},
		},
	}
	known := map[string]bool{}
	for _, v := range at.volumes {
		if !known[v.volume.Name] { // one volume may be mounted twice
			spec.Volumes = append(spec.Volumes, v.volume)
			known[v.volume.Name] = true
		}
	}
	return spec
}

// reader is small beside a rank: pages that it reads count to its memory and
// are given up when they are in the way.
func reader(p steps.RunIOProbeParams, at place) corev1.Container {
	mounts := []corev1.VolumeMount{
		{Name: "gpumedic-script", MountPath: scriptDir, ReadOnly: true},
		{Name: "gpumedic-tmp", MountPath: "/tmp"},
	}
	for _, v := range at.volumes {
		mounts = append(mounts, corev1.VolumeMount{Name: v.mount.Name, MountPath: v.mount.MountPath, SubPath: v.mount.SubPath, ReadOnly: true})
	}
	quantities := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return corev1.Container{
		Name: container, Image: imageOf(p.Settings, at), ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"python3", "-u", scriptDir + "/" + scriptFile},
		Env:             environment(p, at),
		Resources:       corev1.ResourceRequirements{Requests: quantities("250m", "256Mi"), Limits: quantities("4", "1Gi")},
		SecurityContext: testpods.ContainerContext(),
		VolumeMounts:    mounts,
	}
}

// imageOf is the configured image, else that of the rank's container.
func imageOf(s incident.IOProbeSettings, at place) string {
	if s.Image != "" {
		return s.Image
	}
	for _, c := range at.pod.Spec.Containers {
		if c.Name == at.rank.Container {
			return c.Image
		}
	}
	return "" // choose found the container before
}

func environment(p steps.RunIOProbeParams, at place) []corev1.EnvVar {
	dirs := make([]string, len(at.volumes))
	for i, v := range at.volumes {
		dirs[i] = v.dir
	}
	paths, err := json.Marshal(dirs)
	if err != nil { // strings always have a form
		panic(err)
	}
	return []corev1.EnvVar{
		{Name: "PYTHONDONTWRITEBYTECODE", Value: "1"}, {Name: "HOME", Value: "/tmp"},
		{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
		{Name: "IOPROBE_PATHS", Value: string(paths)},
		{Name: "IOPROBE_BYTES", Value: strconv.FormatInt(p.Settings.MaxBytes, 10)},
		{Name: "IOPROBE_SECONDS", Value: fmt.Sprintf("%.0f", readingBound(p.Settings.Deadline).Seconds())},
		{Name: "IOPROBE_STREAMS", Value: strconv.Itoa(streams)},
	}
}

// readingBound leaves the script time to end before our deadline cuts it off.
func readingBound(deadline time.Duration) time.Duration {
	return max(time.Second, deadline*3/4)
}

// onNode allows exactly one node, by its name and not by a label that may
// differ from it.
func onNode(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}}}
}

func configMapFor(owner *batchv1.Job) *corev1.ConfigMap {
	data := map[string]string{}
	files, err := fs.Glob(scripts, "script/*.py")
	for _, file := range files {
		var text []byte
		text, err = scripts.ReadFile(file)
		data[file[len("script/"):]] = string(text)
	}
	if err != nil { // embedded: a test reads every one
		panic(err)
	}
	return &corev1.ConfigMap{ObjectMeta: testpods.OwnedBy(owner), Data: data}
}
