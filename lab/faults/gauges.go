package faults

import (
	"math"
	"time"
)

// Time of gauges is stretched where that of programs is compressed: what a
// program does between its start and its death within seconds, its gauges show
// over lifetime, again and again, and they begin an hour before the pod does.
// Whoever asks for the last hour of a job then sees what a real hour shows.
const (
	lifetime = 64 * time.Minute
	before   = time.Hour
	// longest is the last step that is looked at for a death.
	longest = 400
)

// Gauge is one sample of what exporters tell of a rank.
type Gauge struct {
	// Used, Free and Reserved are the GPU's framebuffer, in bytes: Reserved is the
	// driver's own.
	Used, Free, Reserved float64
	// Busy is the GPU's utilisation in percent, CPUs how many the container uses,
	// Waiting how many of the node's wait for storage on its behalf.
	Busy, CPUs, Waiting float64
	// Read is what comes from volumes over the network, in bytes per second.
	Read float64
}

// Gauges are those of one rank over time.
type Gauges struct {
	Namespace, Pod, Container, Node string
	// GPUs that the container holds, and those of the node's CPUs that it may use.
	GPUs    int
	MaxCPUs float64
	// Claims that the pod mounts.
	Claims []string
	// At is the sample of a time; ok is false before the rank's past begins and
	// after its pod has ended. The same time has the same sample.
	At func(t time.Time) (g Gauge, ok bool)
}

// Gauges are those of all trainings that ran since the model began, in the order
// of their starts.
func (m *Model) Gauges() []Gauges {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Gauges
	for _, r := range m.recorded {
		if r.ended.IsZero() && !m.view.runs(r.pod) {
			r.ended = m.now()
		}
		all = append(all, r.gauges())
	}
	return all
}

// record is what the gauges of one pod are drawn from.
type record struct {
	*process
	began, ended time.Time
	// shares of each step from the loading of the model to the last before it
	// starts anew; one means that nothing changes.
	shares []gpuShare
	took   stepTime
	used   float64 // CPUs
	// storage says that the rank waits for a volume, not for its CPUs.
	storage bool
	mib     float64
	claims  []string
}

// record notes a pod's first attempt. A later attempt does what the first did.
func (m *Model) record(p *process, t Training, took stepTime) {
	r := &record{process: p, took: took, mib: t.Loader.BatchMiB, began: m.now(), used: 1.2, shares: m.life(p, t.GPU)}
	if t.Loader.BatchMiB > 0 {
		r.used = min(p.cpus(), 1.2+t.Loader.CPUSeconds/(took.compute+took.data))
		r.storage = took.data > took.compute/2 && m.source(p).MBps < localMBps
	}
	for _, v := range p.pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			r.claims = append(r.claims, v.PersistentVolumeClaim.ClaimName)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, known := range m.recorded {
		if known.pod.UID == p.pod.UID {
			return
		}
	}
	m.recorded = append(m.recorded, r)
}

// life is the memory at every step until the rank dies of it; a single share of a
// program that does not die, that dies at once, or whose memory is not played.
func (m *Model) life(p *process, t GPUMemory) []gpuShare {
	if t.Weights == 0 {
		return []gpuShare{{total: m.capacity(p), allocated: 0.55 * m.capacity(p), unused: looseGiB}}
	}
	var shares []gpuShare
	for step := range longest {
		share := m.memoryAt(p, t, step)
		shares = append(shares, share)
		if share.request > 0 && step <= 1 {
			return shares[step:]
		}
		if share.request > 0 {
			return shares
		}
	}
	return shares[1:2]
}

func (r *record) gauges() Gauges {
	g := Gauges{
		Namespace: r.pod.Namespace, Pod: r.pod.Name, Container: r.spec.Name, Node: r.pod.Spec.NodeName,
		GPUs: max(1, r.gpus()), MaxCPUs: r.cpus(), Claims: r.claims,
	}
	ended := r.ended
	g.At = func(t time.Time) (Gauge, bool) {
		if t.Before(r.began.Add(-before)) || !ended.IsZero() && t.After(ended) {
			return Gauge{}, false
		}
		return r.at(t), true
	}
	return g
}

// driverReserve is what the driver keeps of a GPU, in GiB: nvidia-smi's total is
// this much more than what CUDA sees.
const driverReserve = 0.55

func (r *record) at(t time.Time) Gauge {
	into := t.Sub(r.began.Add(-before))
	phase := float64(into%lifetime) / float64(lifetime)
	share := r.shares[min(len(r.shares)-1, int(phase*float64(len(r.shares))))]
	working := r.took.compute / (r.took.compute + r.took.data)
	used := share.own() + share.foreign()
	read := r.mib * mib / (r.took.compute + r.took.data)
	g := Gauge{
		Used: used * gib, Free: max(0, share.total-used) * gib, Reserved: driverReserve * gib,
		Busy: math.Round(97 * working * (1 + 0.02*noise("busy", r.pod.Name, into/time.Minute))), CPUs: r.used, Read: read,
	}
	if r.storage {
		g.Waiting = storageWaiters * (1 - working)
	}
	return g
}

// storageWaiters is how many loader processes of a rank's node wait while the
// rank does: one set of workers for each of its GPUs.
const storageWaiters = 32.0
