package commtest

import (
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gpumedic/steps"
)

func ownLabels(incidentID string) map[string]string {
	return map[string]string{steps.OwnerLabel: steps.OwnerValue(incidentID), TestLabel: "true"}
}

// podLabels are the workload's labels, so that its policies select the test
// too, without those by which controllers would take the pod for their own.
func podLabels(p steps.RunCommTestParams) map[string]string {
	labels := map[string]string{}
	for name, value := range p.PodLabels {
		if !controlling(name) {
			labels[name] = value
		}
	}
	maps.Copy(labels, ownLabels(p.Incident))
	return labels
}

func controlling(label string) bool {
	return strings.HasPrefix(label, "batch.kubernetes.io/") || strings.HasPrefix(label, "kueue.x-k8s.io/") ||
		strings.HasPrefix(label, "training.kubeflow.org/") || label == "job-name" || label == "controller-uid" || label == "pod-template-hash"
}

// serviceFor gives the ranks their names, also before they are ready.
func serviceFor(p steps.RunCommTestParams, owner *batchv1.Job) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: ownedBy(owner),
		Spec: corev1.ServiceSpec{
			ClusterIP:                corev1.ClusterIPNone,
			PublishNotReadyAddresses: true,
			Selector:                 map[string]string{batchv1.JobNameLabel: p.Name},
			Ports: []corev1.ServicePort{
				{Name: "rendezvous", Port: masterPort, TargetPort: intstr.FromInt32(masterPort)},
			},
		},
	}
}

func configMapFor(owner *batchv1.Job) *corev1.ConfigMap {
	data := map[string]string{}
	for _, name := range scriptFiles() {
		data[name] = script(name)
	}
	return &corev1.ConfigMap{ObjectMeta: ownedBy(owner), Data: data}
}

// scriptFiles are the parts of the program; scriptFile is the one that starts.
func scriptFiles() []string { return []string{scriptFile, "events.py", "meet.py", "sweep.py"} }

func script(name string) string {
	text, err := scripts.ReadFile("script/" + name)
	if err != nil { // embedded: a test reads every one
		panic(err)
	}
	return string(text)
}

// ownedBy makes deleting the Job delete the object too.
func ownedBy(job *batchv1.Job) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: job.Name, Namespace: job.Namespace,
		Labels: map[string]string{steps.OwnerLabel: job.Labels[steps.OwnerLabel], TestLabel: "true"},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID},
		},
	}
}
