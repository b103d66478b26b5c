package faults

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"gpumedic/lab/kubelet"
)

// process is one program in one container: a rank of its world.
type process struct {
	pod  *corev1.Pod // with its address
	spec corev1.Container
	env  map[string]string
	out  io.Writer

	// rank is the completion index, world the number of pods; a program that
	// was told of no others is alone: rank 0 of 1.
	rank, world int
	job         string
	host        string // as the program sees it
	addr        string
	port        int32 // where it listens
	pid         int
	restart     int
}

func newProcess(ctx context.Context, v *view, c kubelet.Container) (*process, error) {
	pod, err := v.addressed(ctx, c.Pod)
	if err != nil {
		return nil, err
	}
	p := &process{
		pod: pod, spec: c.Spec, env: environment(pod, c.Spec), out: c.Out,
		job: jobName(pod), host: hostname(pod), addr: pod.Status.PodIP, restart: c.Restart,
		port: firstEphemeral + int32(hash("port", pod.UID, c.Restart)%(lastEphemeral-firstEphemeral+1)),
		pid:  60 + int(hash("pid", pod.UID, c.Restart)%40),
	}
	if pod.Spec.HostNetwork {
		p.host = pod.Spec.NodeName
	}
	return p, p.findPlace()
}

// findPlace reads rank and world as torch's env:// rendezvous wants them.
func (p *process) findPlace() error {
	p.world = 1
	if text, ok := p.env["NNODES"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("ValueError: invalid literal for int() with base 10: '%s'", text)
		}
		p.world = n
	}
	index, ok := p.pod.Annotations[batchv1.JobCompletionIndexAnnotation]
	if !ok {
		index, ok = p.pod.Labels[batchv1.JobCompletionIndexAnnotation]
	}
	if !ok {
		if p.world > 1 {
			return missing("RANK")
		}
		return nil
	}
	rank, err := strconv.Atoi(index)
	if err != nil || rank < 0 || p.world > 1 && rank >= p.world {
		return fmt.Errorf("ValueError: rank %s is not in a world of %d", index, p.world)
	}
	if p.world > 1 {
		p.rank = rank
		if p.env["MASTER_ADDR"] == "" {
			return missing("MASTER_ADDR")
		}
	}
	return nil
}

func missing(name string) error {
	return fmt.Errorf("ValueError: Error initializing torch.distributed using env:// rendezvous: environment variable %s expected, but not set", name)
}

// environment is the container's, with the fields of the pod that are asked
// for most. As in a real container, of two equal names the later wins.
func environment(pod *corev1.Pod, spec corev1.Container) map[string]string {
	env := map[string]string{}
	for _, v := range spec.Env {
		switch {
		case v.ValueFrom == nil:
			env[v.Name] = v.Value
		case v.ValueFrom.FieldRef != nil:
			env[v.Name] = field(pod, v.ValueFrom.FieldRef.FieldPath)
		}
	}
	return env
}

func field(pod *corev1.Pod, path string) string {
	switch path {
	case "metadata.name":
		return pod.Name
	case "metadata.namespace":
		return pod.Namespace
	case "spec.nodeName":
		return pod.Spec.NodeName
	case "status.podIP":
		return pod.Status.PodIP
	}
	if key, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return pod.Annotations[strings.TrimSuffix(key, "']")]
	}
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return pod.Labels[strings.TrimSuffix(key, "']")]
	}
	return ""
}

// masterPort is where rank 0 is met.
func (p *process) masterPort() int32 {
	if n, err := strconv.Atoi(p.env["MASTER_PORT"]); err == nil && n > 0 && n < 65536 {
		return int32(n)
	}
	return 29500
}

// gpus is how many the container was given.
func (p *process) gpus() int {
	q := p.spec.Resources.Limits["nvidia.com/gpu"]
	return int(q.Value())
}

// rdma says whether the container was given an RDMA device: any resource of
// the group rdma, as the shared device plugin names them.
func (p *process) rdma() bool {
	for name, quantity := range p.spec.Resources.Limits {
		if strings.HasPrefix(string(name), "rdma/") && quantity.Value() > 0 {
			return true
		}
	}
	return false
}

// seconds reads a duration from the environment.
func (p *process) seconds(name string, otherwise time.Duration) time.Duration {
	if n, err := strconv.ParseFloat(p.env[name], 64); err == nil && n > 0 {
		return time.Duration(n * float64(time.Second))
	}
	return otherwise
}

// name is the rank's name in the cluster's DNS, its address without one.
func (p *process) name() string {
	if p.pod.Spec.Subdomain == "" {
		return p.addr
	}
	return fmt.Sprintf("%s.%s.%s.svc.cluster.local", hostname(p.pod), p.pod.Spec.Subdomain, p.pod.Namespace)
}

// say prints one line.
func (p *process) say(format string, args ...any) { line(p.out, fmt.Sprintf(format, args...)) }

// line writes a line in one write. That nobody takes it is no concern of a
// program: the log's bound is the kubelet's.
func line(out io.Writer, text string) { _, _ = io.WriteString(out, text+"\n") }
