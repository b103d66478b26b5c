package commtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// mpiMachine runs nccl-tests in an MPIJob. The Kubeflow MPI operator makes its
// pods; the launcher's log is the result.
type mpiMachine struct{}

func (mpiMachine) kind() string { return "MPIJob" }

func (m mpiMachine) ensure(ctx context.Context, h *Hands, p steps.RunCommTestParams) (metav1.Object, error) {
	wanted, err := mpiJobFor(p, testpods.LevelOf(ctx, h.Kube, h.log(), p.Namespace))
	if err != nil {
		return nil, err
	}
	job, err := h.Dynamic.Resource(mpiJobs).Namespace(p.Namespace).Create(ctx, wanted, testpods.CreateOptions())
	if err == nil {
		h.log().Info("test mpijob created", "incident", p.Incident, "job", p.Name, "nodes", len(p.Group.Nodes))
		return job, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, testpods.Fault(err, "creating test mpijob %s/%s", p.Namespace, p.Name)
	}
	found, err := m.get(ctx, h, p.Namespace, p.Name)
	if err != nil {
		return nil, testpods.GoneAgain(err, "reading test mpijob %s/%s of an earlier attempt", p.Namespace, p.Name)
	}
	return found, joinable(p, "mpijob", found)
}

func (mpiMachine) get(ctx context.Context, h *Hands, namespace, name string) (metav1.Object, error) {
	return h.Dynamic.Resource(mpiJobs).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (mpiMachine) informer(h *Hands, namespace, name string) cache.SharedIndexInformer {
	return dynamicinformer.NewFilteredDynamicInformer(h.Dynamic, mpiJobs, namespace, 0, cache.Indexers{}, onlyNamed(name)).Informer()
}

func (mpiMachine) selector(name string) labels.Set { return labels.Set{nameLabel: name} }

// observe: the workers are the ranks, and the test lasts as long as its launcher.
func (mpiMachine) observe(p steps.RunCommTestParams, object metav1.Object, pods []*corev1.Pod) sight {
	seen := sum(newest(len(p.Group.Nodes), pods, workerIndex), p.Group.Nodes)
	seen.launcher = newest(1, pods, func(pod *corev1.Pod) int {
		if pod.Labels[roleLabel] != launcher {
			return -1
		}
		return 0
	})[0]
	seen.awaitsLauncher = true
	if seen.launcher != nil {
		_, started := testpods.StartedAt(seen.launcher, container)
		seen.awaitsLauncher = !started
		if ended := exitOf(seen.launcher); ended != nil {
			seen.over = true
		} else if reason := testpods.Hopeless(seen.launcher, container); reason != "" && seen.trouble == "" {
			seen.over, seen.trouble = true, reason
		}
	}
	if seen.trouble == "" && seen.failed > 0 && !seen.over {
		seen.over, seen.trouble = true, "a worker ended before its launcher: "+firstEnded(seen.ranks)
	}
	if reason, message, failed := mpiFailed(object); failed {
		seen.endedEarly("MPIJob", reason, message)
	}
	return seen
}

func firstEnded(pods []*corev1.Pod) string {
	for _, pod := range pods {
		if pod == nil {
			continue
		}
		if ended := exitOf(pod); ended != nil {
			return strings.TrimSpace(fmt.Sprintf("pod %s on node %s: exit code %d %s %s", pod.Name, pod.Spec.NodeName, ended.Code, ended.Reason, ended.Disrupted))
		}
	}
	return "unknown"
}

// workerIndex reads the number at the end of the name that the operator gives
// its workers, <job>-worker-<index>.
func workerIndex(pod *corev1.Pod) int {
	if pod.Labels[roleLabel] != worker {
		return -1
	}
	index, err := strconv.Atoi(pod.Name[strings.LastIndex(pod.Name, "-")+1:])
	if err != nil {
		return -1
	}
	return index
}

// mpiFailed reads the condition Failed.
func mpiFailed(object metav1.Object) (reason, message string, failed bool) {
	job, ok := object.(*unstructured.Unstructured)
	if !ok {
		return "", "", false
	}
	conditions, _, err := unstructured.NestedSlice(job.Object, "status", "conditions")
	if err != nil {
		return "", "", false
	}
	for _, item := range conditions {
		condition, ok := item.(map[string]any)
		if ok && condition["type"] == "Failed" && condition["status"] == "True" {
			reason, _ := condition["reason"].(string)
			message, _ := condition["message"].(string)
			return reason, message, true
		}
	}
	return "", "", false
}

// finish keeps the launcher's log and judges it.
func (mpiMachine) finish(ctx context.Context, h *Hands, p steps.RunCommTestParams, seen sight) (incident.Outcome, []incident.IndexEntry, error) {
	outcome := blank(p, ToolNCCL)
	outcome.Why = seen.trouble
	if seen.launcher == nil {
		if outcome.Why == "" {
			outcome.Why = "the MPI operator created no launcher"
		}
		return outcome, nil, nil
	}
	log, entry, err := h.readLauncher(ctx, p, seen.launcher)
	if err != nil {
		return incident.Outcome{}, nil, err
	}
	entries := []incident.IndexEntry{}
	if entry.Name != "" {
		entries = append(entries, entry)
	}
	if seen.trouble != "" {
		return outcome, entries, nil
	}
	return judgeNCCL(log, ncclWantOf(p, seen)), entries, nil
}
