package faults

import (
	"errors"
	"fmt"
)

// Training is what no object tells of one job's program: how much memory it
// needs and how it reads its data. Sizes are GiB per rank unless they say
// otherwise. A job without one needs little and waits for nothing.
type Training struct {
	Namespace string     `json:"namespace"`
	Job       string     `json:"job"`
	GPU       GPUMemory  `json:"gpu"`
	Host      HostMemory `json:"host"`
	Loader    Loader     `json:"loader"`
}

// GPUMemory is what a rank holds of its GPU.
type GPUMemory struct {
	// Weights, with gradients and the optimizer's state; 0 = the program's
	// memory is not played at all.
	Weights float64 `json:"weights,omitempty"`
	// Sample is the activations of one sample of the micro-batch in fp32; half of
	// it in bf16 or fp16.
	Sample float64 `json:"sample,omitempty"`
	// Fragments is what the caching allocator reserves and cannot use again, per
	// step, unless its segments are expandable. One rank has the most of it, and is
	// the first to die.
	Fragments float64 `json:"fragments,omitempty"`
	// Rigid: the nodes' driver does not know expandable segments, so that asking
	// for them changes nothing.
	Rigid bool `json:"rigid,omitempty"`
	// Leak is what is allocated and never given back, per step.
	Leak float64 `json:"leak,omitempty"`
}

// HostMemory is what a rank holds of its node's memory beside /dev/shm.
type HostMemory struct {
	Base float64 `json:"base,omitempty"`
	// Cache grows from nothing to this over CacheSteps.
	Cache      float64 `json:"cache,omitempty"`
	CacheSteps int     `json:"cache_steps,omitempty"`
}

// Tenant is a process of no pod that holds memory of every GPU of a node.
type Tenant struct {
	Node string  `json:"node"`
	PID  int     `json:"pid"`
	GiB  float64 `json:"gib"`
}

// Storage is how fast a storage class is for one rank of many. Volumes of
// classes without one, and local ones, are as fast as anybody reads.
type Storage struct {
	Class string  `json:"class"`
	MBps  float64 `json:"mbps"`
	// Latency in milliseconds of opening a file.
	Latency float64 `json:"latency_ms"`
}

func (t Training) check() error {
	g, h, l := t.GPU, t.Host, t.Loader
	switch {
	case t.Namespace == "" || t.Job == "":
		return fmt.Errorf("want a namespace and a job, got %q and %q", t.Namespace, t.Job)
	case min(g.Weights, g.Sample, g.Fragments, g.Leak, h.Base, h.Cache, l.CPUSeconds, l.BatchMiB) < 0 || min(h.CacheSteps, l.Files) < 0:
		return errors.New("want no amount below 0")
	case g.Weights == 0 && (g.Sample > 0 || g.Fragments > 0 || g.Leak > 0):
		return errors.New("want weights where the GPU's memory is played")
	case h.Cache > 0 && h.CacheSteps == 0:
		return errors.New("want the steps over which the cache fills")
	}
	return nil
}

// checkTrainings says what is wrong with trainings, tenants and storage.
func (s Script) checkTrainings() error {
	for i, t := range s.Trainings {
		if err := t.check(); err != nil {
			return fmt.Errorf("trainings[%d]: %w", i, err)
		}
	}
	for i, t := range s.Tenants {
		if t.Node == "" || t.PID < 1 || t.GiB <= 0 {
			return fmt.Errorf("tenants[%d]: want a node, a process id and an amount of memory, got %+v", i, t)
		}
	}
	for i, v := range s.Storage {
		if v.Class == "" || v.MBps <= 0 || v.Latency < 0 {
			return fmt.Errorf("storage[%d]: want a class, a bandwidth and a latency, got %+v", i, v)
		}
	}
	return nil
}

// training is what the script tells of a process's program.
func (s Script) training(p *process) Training {
	for _, t := range s.Trainings {
		if t.Namespace == p.pod.Namespace && t.Job == p.job {
			return t
		}
	}
	return Training{}
}
