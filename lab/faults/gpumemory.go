package faults

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	// contextGiB is what a process holds beside what PyTorch manages: the CUDA
	// context, NCCL's buffers and library workspaces.
	contextGiB = 1.12
	// looseGiB is what any allocator reserves more than is used.
	looseGiB = 0.31
	// pieces is how many allocations make up the weights or the activations.
	pieces = 16
)

// capacities are what PyTorch sees of a GPU, by product, in GiB.
var capacities = map[string]float64{
	"NVIDIA-H100-80GB-HBM3": 79.10, "NVIDIA-H200": 139.81, "NVIDIA-A100-SXM4-80GB": 79.15, "NVIDIA-A100-SXM4-40GB": 39.39, "NVIDIA-B200": 178.35,
}

// slice is the resource name of a part of a GPU, "nvidia.com/mig-1g.10gb".
var slice = regexp.MustCompile(`^nvidia\.com/mig-\d+g\.(\d+)gb`)

// capacity is the memory of the GPU, or of the slice, that a process was given.
func (m *Model) capacity(p *process) float64 {
	for name := range p.spec.Resources.Limits {
		if found := slice.FindStringSubmatch(string(name)); found != nil {
			size, _ := strconv.ParseFloat(found[1], 64)
			return 0.97 * size
		}
	}
	if size, known := capacities[m.view.product(p.pod.Spec.NodeName)]; known {
		return size
	}
	return capacities["NVIDIA-H100-80GB-HBM3"]
}

// gpuShare is how the memory of a GPU is divided, in GiB.
type gpuShare struct {
	total, allocated, unused float64
	tenants                  []Tenant
	// request is what was asked for and did not fit, 0 when everything did.
	request float64
}

func (s gpuShare) own() float64 { return contextGiB + s.allocated + s.unused }

func (s gpuShare) foreign() float64 {
	sum := 0.0
	for _, t := range s.tenants {
		sum += t.GiB
	}
	return sum
}

func (s gpuShare) free() float64 { return max(0, s.total-s.own()-s.foreign()) }

// fill takes amount in pieces until one does not fit.
func (s gpuShare) fill(amount float64) gpuShare {
	piece := amount / pieces
	for range pieces {
		if piece > s.free() {
			s.request = piece
			return s
		}
		s.allocated += piece
	}
	return s
}

// memoryAt is the memory at the peak of a step; step 0 is the loading of the model.
func (m *Model) memoryAt(p *process, t GPUMemory, step int) gpuShare {
	s := gpuShare{total: m.capacity(p), unused: looseGiB, tenants: m.currentScript().tenants(p.pod.Spec.NodeName)}
	s = s.fill(t.Weights)
	if s.request > 0 || step == 0 {
		return s
	}
	s.allocated += t.Leak * float64(step-1)
	if !p.expandable() || t.Rigid {
		s.unused += t.Fragments * float64(step-1) * p.uneven()
	}
	if over := -(s.total - s.own() - s.foreign()); over > 0 { // the step before had left no more
		s.unused = max(looseGiB, s.unused-over)
	}
	return s.fill(t.Sample * float64(microBatch.number(p)) * p.width())
}

// uneven is a rank's share of what the longest sequences do to memory: one rank of
// the job gets them, the others less.
func (p *process) uneven() float64 {
	if uint64(p.rank) == hash("longest", p.job)%uint64(p.world) {
		return 1
	}
	return 0.75 + 0.1*noise("uneven", p.job, p.rank)
}

// width is how wide numbers are, against fp32.
func (p *process) width() float64 {
	switch precision.text(p) {
	case "bf16", "fp16":
		return 0.5
	}
	return 1
}

// torch is the release in the process's image: the tag, or that of the lab.
func (p *process) torch() string {
	if _, tag, ok := strings.Cut(p.spec.Image, ":"); ok && strings.HasPrefix(tag, "torch-") {
		return strings.TrimPrefix(tag, "torch-")
	}
	return torchVersion
}

// release is the minor release of PyTorch 2.
func (p *process) release() int {
	n, _ := strconv.Atoi(strings.Split(p.torch()+".0", ".")[1])
	return n
}

// allocator is what the caching allocator is told: PYTORCH_ALLOC_CONF is read
// from 2.9 on, and then wins.
func (p *process) allocator() string {
	if conf := p.env["PYTORCH_ALLOC_CONF"]; conf != "" && p.release() >= 9 {
		return conf
	}
	return p.env["PYTORCH_CUDA_ALLOC_CONF"]
}

// expandable says whether segments that grow are asked for; since 2.1 they may be.
func (p *process) expandable() bool {
	for setting := range strings.SplitSeq(p.allocator(), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(setting), ":")
		if name == "expandable_segments" {
			return strings.EqualFold(strings.TrimSpace(value), "true")
		}
	}
	return false
}

// outOfMemory is the text of PyTorch's exception, in the words of its release
// (c10/cuda/CUDACachingAllocator.cpp).
func (p *process) outOfMemory(s gpuShare) string {
	spelt, advice := "capacity", "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
	switch release := p.release(); {
	case release <= 1:
		spelt, advice = "capacty", "max_split_size_mb" // the slip is PyTorch's
	case release >= 9:
		advice = "PYTORCH_ALLOC_CONF=expandable_segments:True"
	}
	class := "torch.OutOfMemoryError"
	if p.release() < 5 {
		class = "torch.cuda.OutOfMemoryError"
	}
	text := fmt.Sprintf("%s: CUDA out of memory. Tried to allocate %s. GPU 0 has a total %s of %s of which %s is free. ",
		class, amount(s.request), spelt, amount(s.total), amount(s.free()))
	for _, t := range s.tenants {
		text += fmt.Sprintf("Process %d has %s memory in use. ", t.PID, amount(t.GiB))
	}
	text += fmt.Sprintf("Including non-PyTorch memory, this process has %s memory in use. Of the allocated memory %s is allocated by PyTorch, and %s is reserved by PyTorch but unallocated. ",
		amount(s.own()), amount(s.allocated), amount(s.unused))
	return text + "If reserved but unallocated memory is large try setting " + advice +
		" to avoid fragmentation.  See documentation for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
}

// amount writes GiB as PyTorch writes bytes.
func amount(gib float64) string {
	switch {
	case gib >= 1:
		return fmt.Sprintf("%.2f GiB", gib)
	case gib*1024 >= 1:
		return fmt.Sprintf("%.2f MiB", gib*1024)
	}
	return "0 bytes"
}

// sayMemoryReport prints what Megatron's report_memory does, in MB.
func (p *process) sayMemoryReport(s gpuShare, step int) {
	mb := func(gib float64) float64 { return gib * 1024 }
	p.say("[Rank %d] (after %d iterations) memory (MB) | allocated: %.1f | max allocated: %.1f | reserved: %.1f | max reserved: %.1f",
		p.rank, step, mb(s.allocated), mb(s.allocated), mb(s.allocated+s.unused), mb(s.allocated+s.unused))
}

// tenants are those of a node.
func (s Script) tenants(node string) []Tenant {
	var found []Tenant
	for _, t := range s.Tenants {
		if t.Node == node {
			found = append(found, t)
		}
	}
	return found
}
