package faults

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"gpumedic/lab/kubelet"
	"gpumedic/steps"
)

const (
	// TestLabel marks the pods of communication tests.
	TestLabel = "gpumedic.io/comm-test"
	// TrainImage is the image of a training, with any tag.
	TrainImage = "lab.gpumedic.io/train"
	// terminated is the exit code of a program that was asked to stop.
	terminated = 143
)

// Pace is how fast things happen; see the package comment on time.
type Pace struct {
	// Line is the time between two lines of a try that fails.
	Line time.Duration
	// Notice is how long a rank takes to see that a peer is gone.
	Notice time.Duration
	// Step is a training step over RDMA; over TCP it is ten times that.
	Step time.Duration
	// Patience is how long a rank waits for peers that have not been started.
	Patience time.Duration
}

// DefaultPace is that of the lab.
func DefaultPace() Pace {
	return Pace{Line: 150 * time.Millisecond, Notice: 700 * time.Millisecond, Step: 200 * time.Millisecond, Patience: 45 * time.Second}
}

// Options of a Model. The zero value of each field is a working default.
type Options struct {
	Script Script
	Pace   Pace
	Log    hclog.Logger
	Now    func() time.Time
}

// Model is the fault model: it implements kubelet.Runner.
type Model struct {
	view  *view
	lobby *lobby
	pace  Pace
	log   hclog.Logger
	now   func() time.Time

	mu       sync.Mutex
	script   Script
	training map[string]map[int]int // job to rank to steps of the running attempt
	recorded []*record
}

var _ kubelet.Runner = (*Model)(nil)

// Open watches the objects that decide and returns when they are known. The
// watches end with ctx; Close waits for them.
func Open(ctx context.Context, client kubernetes.Interface, o Options) (*Model, error) {
	if err := o.Script.Check(); err != nil {
		return nil, fmt.Errorf("fault script: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	v := newView(factory)
	factory.Start(ctx.Done())
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return nil, fmt.Errorf("list %v for the fault model: %w", kind, context.Cause(ctx))
		}
	}
	return newModel(v, o), nil
}

func newModel(v *view, o Options) *Model {
	if o.Pace == (Pace{}) {
		o.Pace = DefaultPace()
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Model{
		view: v, lobby: newLobby(), pace: o.Pace, log: o.Log.Named("faults"), now: o.Now,
		script: o.Script, training: map[string]map[int]int{},
	}
}

// Close waits for the watches to end, after the context of Open did.
func (m *Model) Close() { m.view.factory.Shutdown() }

// SetScript replaces the script. Programs that run see it at their next step
// or connection.
func (m *Model) SetScript(s Script) error {
	if err := s.Check(); err != nil {
		return fmt.Errorf("fault script: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.script = s
	return nil
}

func (m *Model) currentScript() Script {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.script
}

// Steps returns how many steps each running rank of a training has logged in
// its present attempt, by rank. The lab waits with it for a healthy job.
func (m *Model) Steps(namespace, job string) map[int]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	steps := map[int]int{}
	for rank, n := range m.training[namespace+"/"+job] {
		steps[rank] = n
	}
	return steps
}

// Run plays the container's program until it ends or ctx does.
func (m *Model) Run(ctx context.Context, c kubelet.Container) kubelet.Exit {
	program := m.program(c)
	if program == nil {
		<-ctx.Done()
		return kubelet.Exit{Code: terminated}
	}
	p, err := newProcess(ctx, m.view, c)
	if err != nil {
		if ctx.Err() != nil {
			return kubelet.Exit{Code: terminated}
		}
		line(c.Out, err.Error())
		return kubelet.Exit{Code: 1}
	}
	m.log.Debug("program starts", "pod", c.Pod.Namespace+"/"+c.Pod.Name, "node", c.Node, "rank", p.rank, "restart", c.Restart)
	exit := program(ctx, p)
	if ctx.Err() != nil {
		return kubelet.Exit{Code: terminated}
	}
	return exit
}

// program is what a container runs; nil sleeps until it is stopped.
func (m *Model) program(c kubelet.Container) func(context.Context, *process) kubelet.Exit {
	switch {
	case c.Pod.Labels[TestLabel] == "true":
		return m.commTest
	case c.Pod.Labels[ProbeLabel] == "true":
		return m.ioProbe
	case c.Pod.Labels[steps.CopyLabel] == "true" || c.Spec.Name == steps.CacheContainer:
		return m.copies
	case image(c.Spec) == TrainImage:
		return m.train
	}
	return nil
}

func image(spec corev1.Container) string {
	name, _, _ := strings.Cut(spec.Image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	return name
}

// pause waits for d; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
