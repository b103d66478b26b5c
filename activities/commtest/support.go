package commtest

import (
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gpumedic/activities/testpods"
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
		if !testpods.Controlling(name) {
			labels[name] = value
		}
	}
	maps.Copy(labels, ownLabels(p.Incident))
	return labels
}

// serviceFor gives the ranks their names, also before they are ready.
func serviceFor(p steps.RunCommTestParams, owner *batchv1.Job) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: testpods.OwnedBy(owner),
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
	return &corev1.ConfigMap{ObjectMeta: testpods.OwnedBy(owner), Data: data}
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
