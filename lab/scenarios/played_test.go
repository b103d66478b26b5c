package scenarios_test

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"gpumedic/incident"
	"gpumedic/lab/cluster"
	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
	"gpumedic/lab/scenarios"
)

// labBinary is where make puts the control plane.
func labBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(cmp.Or(os.Getenv("GPUMEDIC_CONTROLPLANE"), "../../bin/gpumedic-controlplane"))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("the control plane's binary: %v; build it with: make controlplane", err)
	}
	return path
}

// house is a control plane, nodes and the fault model.
type house struct {
	lab    *cluster.Cluster
	client *kubernetes.Clientset
	model  *faults.Model
}

func start(t *testing.T) house {
	t.Helper()
	lab, err := cluster.Start(t.Context(), cluster.Options{Dir: t.TempDir(), Binary: labBinary(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Stop)
	client := kubernetes.NewForConfigOrDie(lab.RESTConfig())
	ctx, cancel := context.WithCancel(context.Background())
	model, err := faults.Open(ctx, client, faults.Options{})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); model.Close() })
	certificate, err := lab.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := kubelet.Start(t.Context(), kubelet.Options{
		Config: lab.RESTConfig(), Topology: kubelet.DefaultTopology(), Runner: model, Certificate: certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nodes.Stop)
	return house{lab: lab, client: client, model: model}
}

// play applies a scenario, waits until it has settled and returns its pods.
func (h house) play(t *testing.T, s scenarios.Scenario) []corev1.Pod {
	t.Helper()
	if err := h.model.SetScript(s.Faults); err != nil {
		t.Fatal(err)
	}
	if err := h.lab.Apply(t.Context(), s.Manifests); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for {
		pods, err := h.client.CoreV1().Pods(scenarios.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Settled(pods.Items, h.model.Steps(scenarios.Namespace, scenarios.Job)) {
			t.Logf("settled %s after the manifests were applied", time.Since(began).Round(10*time.Millisecond))
			return pods.Items
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not %s after 30 s; pods: %s", s.SettleUntil, states(pods.Items))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func states(pods []corev1.Pod) string {
	var words []string
	for _, p := range pods {
		words = append(words, p.Name+" on "+p.Spec.NodeName+" "+string(p.Status.Phase))
	}
	return strings.Join(words, ", ")
}

// logs reads all attempts' logs of a pod that the API server still has.
func (h house) logs(t *testing.T, pod corev1.Pod) string {
	t.Helper()
	var text strings.Builder
	for _, previous := range []bool{true, false} {
		data, err := h.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(t.Context())
		if err == nil {
			text.Write(data)
		} else if !previous {
			t.Errorf("log of %s: %v", pod.Name, err)
		}
	}
	return text.String()
}

// TestScenariosBeginAsTold plays every story up to its alert on a real control
// plane: what the ranks say and how they are is what the incident will find.
func TestScenariosBeginAsTold(t *testing.T) {
	h := start(t)
	all, err := scenarios.All()
	if err != nil {
		t.Fatal(err)
	}
	played := map[string]bool{}
	for _, s := range all {
		begins := told(s)
		if played[begins] {
			continue // as one before
		}
		played[begins] = true
		t.Run(s.Name, func(t *testing.T) {
			pods := h.play(t, s)
			if s.SettleUntil == scenarios.UntilMounting {
				h.checkMounts(t)
			} else {
				h.checkWords(t, s, begins, pods)
			}
			checkPlaces(t, pods, s.Ranks)
			if s.Name == "nccl-peer-died" {
				checkDeath(t, pods)
			}
			h.clear(t)
		})
	}
}

// told is what nearly all ranks say before the alert, as a regular expression:
// that of the scenario, else that of its cause.
func told(s scenarios.Scenario) string {
	echo := func(line string) string { return line + `|Connection closed by remote peer llama-70b-\d\.` }
	lines := map[string]string{
		"network-unreachable-or-port-blocked": `NCCL WARN socketPollConnect: Connect to \S+ returned 113\(No route to host\)`,
		"rdma-or-net-plugin-unavailable":      `via NET/Socket/0(?s:.*)step 2/100000`,
		"peer-process-died":                   `Connection closed by remote peer llama-70b-2\.|host memory 191\.7 GiB`,
		"wrong-socket-interface":              `Bootstrap : no socket interface found`,
		"ib-link-error":                       `step 2/100000(?s:.*)(?:Got completion from peer 10\.\S+ with status=12|Connection closed by remote peer)`,
		"memory-fragmentation":                `step 11/100000(?s:.*)(?:` + echo(`OutOfMemoryError: CUDA out of memory`) + `)`,
		"true-capacity-oom":                   echo(`Tried to allocate 2\.50 GiB\. GPU 0 has a total capacity of 79\.10 GiB`),
		"other-process-on-gpu":                echo(`Process 4242 has 61\.00 GiB memory in use`),
		"host-oomkilled":                      echo(`step 6/100000`),
		"shm-too-small":                       echo(`killed by signal: Bus error`),
		"memory-leak-growth":                  echo(`max allocated: 7\d{4}\.\d(?s:.*)CUDA out of memory`),
		"input-pipeline-too-slow":             `step 2/100000 loss \S+ time: 2\.\d+ data_time: 2\.[34]`,
		"volume-bind-or-mount-failure":        `FailedMount`,
		incident.UnknownCause:                 `step 2/100000 loss \S+ step_time [23]\.`,
		"":                                    `via NET/IB/0/GDRDMA(?s:.*)step 2/100000`,
		"dataset-slow-storage":                `step 2/100000 loss \S+ time: 3\.\d+ data_time: 2\.[678]`,
		"dataset-copy-fails":                  `step 2/100000 loss \S+ time: 3\.\d+ data_time: 2\.[678]`,
		"dataset-cold-cache":                  `step 2/100000 loss \S+ time: 3\.\d+ data_time: 3\.[12]`,
		"dataset-false-alarm":                 `step 2/100000 loss \S+ time: 0\.4\d+ data_time: 0\.00`,
	}
	if line, own := lines[s.Name]; own {
		return line
	}
	return lines[s.Expect.RootCause]
}

func (h house) checkWords(t *testing.T, s scenarios.Scenario, begins string, pods []corev1.Pod) {
	t.Helper()
	line, said := regexp.MustCompile(begins), 0
	for _, pod := range pods {
		if line.MatchString(h.logs(t, pod)) {
			said++
		}
	}
	if said < s.Ranks-1 { // rank 0 may only echo
		t.Errorf("%d of %d ranks say %s", said, s.Ranks, line)
	}
}

// checkMounts wants the events of a kubelet that cannot mount.
func (h house) checkMounts(t *testing.T) {
	t.Helper()
	events, err := h.client.CoreV1().Events(scenarios.Namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedMount"})
	if err != nil {
		t.Fatal(err)
	}
	if len(events.Items) < scenarios.Ranks || !strings.Contains(events.Items[0].Message, "mount.nfs: Connection timed out") {
		t.Errorf("%d events of volumes that cannot be mounted: %+v", len(events.Items), events.Items)
	}
}

// clear removes the job and the policies. The namespace stays: the controller
// that would finish it takes ten seconds.
func (h house) clear(t *testing.T) {
	t.Helper()
	background := metav1.DeletePropagationBackground
	deletion := metav1.DeleteOptions{PropagationPolicy: &background}
	if err := h.client.BatchV1().Jobs(scenarios.Namespace).Delete(t.Context(), scenarios.Job, deletion); err != nil {
		t.Fatal(err)
	}
	if err := h.client.NetworkingV1().NetworkPolicies(scenarios.Namespace).DeleteCollection(t.Context(), deletion, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		pods, err := h.client.CoreV1().Pods(scenarios.Namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) == 0 {
			return
		}
	}
	t.Fatal("the job's pods do not go away")
}

// checkPlaces: each pod on a node of its own.
func checkPlaces(t *testing.T, pods []corev1.Pod, ranks int) {
	t.Helper()
	var nodes []string
	for _, p := range pods {
		nodes = append(nodes, p.Spec.NodeName)
	}
	slices.Sort(nodes)
	if len(slices.Compact(nodes)) != ranks {
		t.Errorf("pods are on nodes %v", nodes)
	}
}

// checkDeath: rank 2 and nobody else was killed for its memory, before all others ended.
func checkDeath(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		status := p.Status.ContainerStatuses[0]
		ended := status.LastTerminationState.Terminated
		if ended == nil {
			ended = status.State.Terminated
		}
		if killed := ended.Reason == "OOMKilled" && ended.ExitCode == 137; killed != strings.HasPrefix(p.Name, scenarios.Job+"-2-") {
			t.Errorf("%s ended with %s, exit code %d", p.Name, ended.Reason, ended.ExitCode)
		}
	}
}
