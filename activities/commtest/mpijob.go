package commtest

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// launch is what the launcher runs: mpirun once for each collective.
//
//go:embed script/launch.sh
var launch string

const (
	// nameLabel and roleLabel are on the pods of an MPIJob's template, so that
	// nothing depends on which labels a version of the operator adds.
	nameLabel = "gpumedic.io/comm-test-name"
	roleLabel = "gpumedic.io/comm-test-role"
	launcher  = "launcher"
	worker    = "worker"

	// iterations and warmUps of nccl-tests; every version knows the flags.
	iterations, warmUps = 10, 2
)

// mpiJob is the published part of kubeflow.org/v2beta1 MPIJob that we write.
type mpiJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              mpiJobSpec `json:"spec"`
}

type mpiJobSpec struct {
	SlotsPerWorker         int32                  `json:"slotsPerWorker"`
	MPIImplementation      string                 `json:"mpiImplementation"`
	LauncherCreationPolicy string                 `json:"launcherCreationPolicy"`
	RunPolicy              mpiRunPolicy           `json:"runPolicy"`
	ReplicaSpecs           map[string]mpiReplicas `json:"mpiReplicaSpecs"`
}

type mpiRunPolicy struct {
	CleanPodPolicy          string `json:"cleanPodPolicy"`
	BackoffLimit            int32  `json:"backoffLimit"`
	ActiveDeadlineSeconds   int64  `json:"activeDeadlineSeconds"`
	TTLSecondsAfterFinished int32  `json:"ttlSecondsAfterFinished"`
}

type mpiReplicas struct {
	Replicas      int32                  `json:"replicas"`
	RestartPolicy string                 `json:"restartPolicy"`
	Template      corev1.PodTemplateSpec `json:"template"`
}

// mpiJobFor is the MPIJob of a group. cleanPodPolicy None keeps the workers
// until the test is removed, at the end of its round: their places say which
// host name is which node.
func mpiJobFor(p steps.RunCommTestParams, level testpods.Level) (*unstructured.Unstructured, error) {
	lifetime := p.Settings.StartDeadline + p.Settings.Deadline + slack
	job := mpiJob{
		TypeMeta: metav1.TypeMeta{APIVersion: mpiJobs.GroupVersion().String(), Kind: "MPIJob"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: p.Namespace, Labels: ownLabels(p.Incident), Annotations: nodesAnnotation(p.Group),
		},
		Spec: mpiJobSpec{
			SlotsPerWorker: int32(max(1, p.Settings.GPUsPerNode)), MPIImplementation: "OpenMPI", LauncherCreationPolicy: "WaitForWorkersReady",
			RunPolicy: mpiRunPolicy{
				CleanPodPolicy: "None", ActiveDeadlineSeconds: int64(lifetime.Seconds()), TTLSecondsAfterFinished: int32(linger.Seconds()),
			},
			ReplicaSpecs: map[string]mpiReplicas{
				"Launcher": {Replicas: 1, RestartPolicy: "Never", Template: launcherTemplate(p)},
				"Worker":   {Replicas: int32(len(p.Group.Nodes)), RestartPolicy: "Never", Template: workerTemplate(p, level)},
			},
		},
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&job)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "writing the manifest of test mpijob %s/%s", p.Namespace, p.Name)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

func nodesAnnotation(group incident.Group) map[string]string {
	return map[string]string{NodesAnnotation: strings.Join(slices.Sorted(slices.Values(group.Nodes)), ",")}
}

func mpiLabels(p steps.RunCommTestParams, role string) map[string]string {
	labels := podLabels(p)
	maps.Copy(labels, map[string]string{nameLabel: p.Name, roleLabel: role})
	return labels
}

// workerTemplate stands still and lets mpirun in: without a command the
// operator starts sshd. sshd needs root and the usual capabilities, so unlike
// the script's pods these keep them.
func workerTemplate(p steps.RunCommTestParams, level testpods.Level) corev1.PodTemplateSpec {
	security := &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)}
	if add := capabilities(p.Settings, level); add != nil {
		security.Capabilities = &corev1.Capabilities{Add: add}
	}
	template := mpiTemplate(p, worker)
	template.Annotations = annotations(p.Settings)
	template.Spec.Affinity = onePodOnEach(p, map[string]string{nameLabel: p.Name, roleLabel: worker})
	template.Spec.HostNetwork = p.Settings.HostNetwork
	if p.Settings.HostNetwork {
		template.Spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	template.Spec.Containers = []corev1.Container{{
		Name: container, Image: p.Settings.NCCLTestsImage, Env: mpiEnvironment(p.Settings), Resources: requirements(p.Settings),
		SecurityContext: security, VolumeMounts: []corev1.VolumeMount{{Name: "shm", MountPath: "/dev/shm"}},
	}}
	template.Spec.Volumes = []corev1.Volume{{Name: "shm", VolumeSource: corev1.VolumeSource{EmptyDir: sharedMemory(p.Settings)}}}
	return template
}

func launcherTemplate(p steps.RunCommTestParams) corev1.PodTemplateSpec {
	template := mpiTemplate(p, launcher)
	template.Spec.Containers = []corev1.Container{{
		Name: container, Image: p.Settings.NCCLTestsImage, Command: []string{"/bin/sh", "-c", launch}, Env: launcherEnvironment(p),
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false)},
	}}
	return template
}

func mpiTemplate(p steps.RunCommTestParams, role string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: mpiLabels(p, role)},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Tolerations: tolerations(p.Settings.Tolerations),
			AutomountServiceAccountToken: ptr.To(false), EnableServiceLinks: ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To(int64(2)), SecurityContext: testpods.PodContext(""),
		},
	}
}

// mpiEnvironment is what the site sets and NCCL reads.
func mpiEnvironment(s incident.CommTestSettings) []corev1.EnvVar {
	env := []corev1.EnvVar{}
	values := merged(map[string]string{"NCCL_DEBUG": "INFO"}, s.Env)
	for _, name := range sortedKeys(values) {
		env = append(env, corev1.EnvVar{Name: name, Value: values[name]})
	}
	return env
}

// launcherEnvironment tells launch.sh what to run; mpirun passes on what it names.
func launcherEnvironment(p steps.RunCommTestParams) []corev1.EnvVar {
	env := mpiEnvironment(p.Settings)
	var pass []string
	for _, v := range env {
		pass = append(pass, v.Name)
	}
	sizes, gpus := Sizes(p.Settings.MaxBytes), max(1, p.Settings.GPUsPerNode)
	bound := runBound(p.Settings.Deadline, 0)
	return append(env,
		corev1.EnvVar{Name: "COMMTEST_PASS", Value: strings.Join(pass, " ")},
		corev1.EnvVar{Name: "COMMTEST_OPS", Value: strings.Join(ops(), " ")},
		corev1.EnvVar{Name: "COMMTEST_PROCESSES", Value: strconv.Itoa(gpus * len(p.Group.Nodes))},
		corev1.EnvVar{Name: "COMMTEST_PER_NODE", Value: strconv.Itoa(gpus)},
		corev1.EnvVar{Name: "COMMTEST_SECONDS", Value: seconds(bound)},
		corev1.EnvVar{Name: "COMMTEST_FLAGS", Value: fmt.Sprintf("-b %d -e %d -f %d -g 1 -c 1 -n %d -w %d", sizes[0], sizes[len(sizes)-1], factor, iterations, warmUps)},
	)
}
