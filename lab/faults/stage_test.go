package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
	"gpumedic/lab/scenarios"
)

// stage is a cluster of objects without a control plane: the pods that the
// job controller and the scheduler would have made are made by hand.
type stage struct {
	t       *testing.T
	objects []runtime.Object
	pods    []*corev1.Pod
	script  faults.Script
	client  *fake.Clientset
	model   *faults.Model
	restart int
}

// quick is the lab's pace, four times as fast.
func quick() faults.Pace {
	p := faults.DefaultPace()
	p.Line, p.Notice, p.Step, p.Patience = p.Line/4, p.Notice/4, p.Step/4, 1500*time.Millisecond
	return p
}

// set builds the stage of a scenario.
func set(t *testing.T, scenario string) *stage {
	t.Helper()
	s, err := scenarios.Find(scenario)
	if err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	st := &stage{t: t, script: s.Faults}
	for doc := range strings.SplitSeq(string(s.Manifests), "\n---\n") {
		o, _, err := strict.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if job, ok := o.(*batchv1.Job); ok {
			st.addPods(job, "")
			continue
		}
		st.objects = append(st.objects, o)
	}
	return st
}

// addPods makes the pods of an Indexed Job, rank i on node gpu-0i.
func (st *stage) addPods(job *batchv1.Job, prefix string) {
	for i := range int(*job.Spec.Parallelism) {
		pod := &corev1.Pod{ObjectMeta: *job.Spec.Template.ObjectMeta.DeepCopy(), Spec: *job.Spec.Template.Spec.DeepCopy()}
		pod.Namespace, pod.Name = job.Namespace, fmt.Sprintf("%s-%d-x%dz", job.Name, i, i)
		pod.UID = types.UID(fmt.Sprintf("%suid-%s-%d", prefix, job.Name, i))
		metav1.SetMetaDataLabel(&pod.ObjectMeta, batchv1.JobNameLabel, job.Name)
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, batchv1.JobCompletionIndexAnnotation, fmt.Sprint(i))
		pod.Spec.Hostname, pod.Spec.NodeName = fmt.Sprintf("%s-%d", job.Name, i), fmt.Sprintf("gpu-%02d", i)
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.244.%d.%d", i, 7+len(st.pods))}
		st.pods = append(st.pods, pod)
	}
}

// open starts the model; it may be called again after objects changed through
// the client.
func (st *stage) open() {
	st.t.Helper()
	all := st.objects
	for _, pod := range st.pods {
		all = append(all, pod)
	}
	st.client = fake.NewClientset(all...)
	ctx, cancel := context.WithCancel(context.Background())
	model, err := faults.Open(ctx, st.client, faults.Options{Script: st.script, Pace: quick()})
	if err != nil {
		cancel()
		st.t.Fatal(err)
	}
	st.model = model
	st.t.Cleanup(func() { cancel(); model.Close() })
}

// log takes what a program prints; every write must be whole lines.
type log struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	broken bool
}

func (l *log) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = l.broken || !bytes.HasSuffix(data, []byte("\n")) || bytes.Count(data, []byte("\n")) != 1
	return l.buffer.Write(data)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// ending is what one rank printed and how it ended.
type ending struct {
	text string
	exit kubelet.Exit
	took time.Duration
}

// run plays the pods' programs until all have ended; until, when it is not
// nil, is asked every few milliseconds whether to stop those that still run.
func (st *stage) run(until func() bool) []ending {
	st.t.Helper()
	if st.model == nil {
		st.open()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	endings, logs := make([]ending, len(st.pods)), make([]*log, len(st.pods))
	var ranks sync.WaitGroup
	started := time.Now()
	for i, pod := range st.pods {
		logs[i] = &log{}
		ranks.Go(func() {
			exit := st.model.Run(ctx, kubelet.Container{Pod: pod, Spec: pod.Spec.Containers[0], Restart: st.restart, Node: pod.Spec.NodeName, Out: logs[i]})
			endings[i] = ending{exit: exit, took: time.Since(started)}
		})
	}
	over := make(chan struct{})
	go func() { ranks.Wait(); close(over) }()
	st.watch(over, until, cancel)
	<-over
	if until == nil && ctx.Err() != nil {
		st.t.Error("the programs did not end by themselves")
	}
	for i := range endings {
		endings[i].text = logs[i].String()
		if logs[i].broken {
			st.t.Errorf("rank %d wrote something else than single lines", i)
		}
	}
	return endings
}

func (st *stage) watch(over chan struct{}, until func() bool, cancel func()) {
	for {
		select {
		case <-over:
			return
		case <-time.After(5 * time.Millisecond):
			if until != nil && until() {
				cancel()
				return
			}
		}
	}
}

// trained is true when all ranks have logged so many steps.
func (st *stage) trained(steps int) func() bool {
	return func() bool {
		far := st.model.Steps(scenarios.Namespace, scenarios.Job)
		if len(far) < scenarios.Ranks {
			return false
		}
		for _, n := range far {
			if n < steps {
				return false
			}
		}
		return true
	}
}

// edit changes the container of every pod.
func (st *stage) edit(change func(rank int, c *corev1.Container)) {
	for i, pod := range st.pods {
		change(i, &pod.Spec.Containers[0])
	}
}

// rename gives the pods' job another name; the service and where the ranks
// meet stay.
func (st *stage) rename(job string) {
	for _, pod := range st.pods {
		pod.Labels["of"] = pod.Labels[batchv1.JobNameLabel]
		pod.Labels[batchv1.JobNameLabel] = job
	}
	for _, o := range st.objects {
		if svc, ok := o.(*corev1.Service); ok && svc.Spec.Selector[batchv1.JobNameLabel] != "" {
			svc.Spec.Selector = map[string]string{"of": svc.Spec.Selector[batchv1.JobNameLabel]}
		}
	}
}

func setenv(name, value string) func(int, *corev1.Container) {
	return func(_ int, c *corev1.Container) { c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value}) }
}
