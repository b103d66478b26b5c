package diagnosis

import (
	"fmt"
	"regexp"
	"strings"
)

// PyTorch tells in its message how the memory of the GPU is divided. Its forms
// from 1.x to 2.10 differ in words, not in what they tell
// (c10/cuda/CUDACachingAllocator.cpp).

var (
	oomBegin     = regexp.MustCompile(`out of memory\. Tried to allocate`)
	oomRequest   = regexp.MustCompile(`Tried to allocate ([\d.]+ \w+)`)
	oomTotal     = regexp.MustCompile(`total capaci?ty of ([\d.]+ \w+)|([\d.]+ \w+) total capacity`)
	oomFree      = regexp.MustCompile(`of which ([\d.]+ \w+) is free|([\d.]+ \w+) free`)
	oomAllocated = regexp.MustCompile(`([\d.]+ \w+) is allocated by PyTorch|([\d.]+ \w+) already allocated`)
	oomUnused    = regexp.MustCompile(`([\d.]+ \w+) is reserved by PyTorch but unallocated|([\d.]+ \w+) cached\)`) // until 1.3 beside what is allocated
	oomReserved  = regexp.MustCompile(`([\d.]+ \w+) reserved in total by PyTorch`)
	oomOwn       = regexp.MustCompile(`this process has ([\d.]+ \w+) memory in use`)
	oomProcess   = regexp.MustCompile(`Process \d+ has ([\d.]+ \w+) memory in use`)
	oomAllowed   = regexp.MustCompile(`([\d.]+ \w+) allowed;`)
)

// gpuMemory is how a GPU's memory is divided, in bytes. Own and others are 0 when
// the message does not tell them.
type gpuMemory struct {
	request, total, free, allocated, unused, own, others, allowed float64
}

func (g gpuMemory) reserved() float64 { return g.allocated + g.unused }

// fragments is the share of the reserved memory that nothing uses.
func (g gpuMemory) fragments() float64 {
	if g.reserved() == 0 {
		return 0
	}
	return g.unused / g.reserved()
}

// foreign is what neither is free nor this process's: what other processes are
// told to have, else what is missing in the sum.
func (g gpuMemory) foreign() float64 {
	own := g.own
	if own == 0 {
		own = g.reserved() + overhead(g.total)
	}
	return max(g.others, g.total-g.free-own)
}

// overhead is what a process needs on a GPU beside what PyTorch manages: the CUDA
// context, NCCL and library workspaces.
func overhead(total float64) float64 { return min(1.5*gib, 0.15*total) }

// readTorchOOM classifies the message by its numbers.
func readTorchOOM(m *Match, text string) bool {
	g, complete := memoryOf(text)
	m.Reading = &Reading{Weight: 0.45}
	if complete {
		m.Reading = g.judge()
	}
	return true
}

// memoryOf reads the first message in text, which may be wrapped. Complete is
// false when it lacks the figures to judge by.
func memoryOf(text string) (g gpuMemory, complete bool) {
	text = strings.Join(strings.Fields(text), " ")
	if begins := oomBegin.FindAllStringIndex(text, 2); len(begins) > 1 {
		text = text[:begins[1][0]]
	}
	read := func(pattern *regexp.Regexp) (value float64, ok bool) {
		found := pattern.FindStringSubmatch(text)
		if found == nil {
			return 0, false
		}
		return sizeOf(strings.Join(found[1:], ""))
	}
	var known [4]bool
	g.request, known[0] = read(oomRequest)
	g.total, known[1] = read(oomTotal)
	g.free, known[2] = read(oomFree)
	g.allocated, known[3] = read(oomAllocated)
	g.allowed, _ = read(oomAllowed)
	if unused, ok := read(oomUnused); ok {
		g.unused = unused
	} else if reserved, ok := read(oomReserved); ok {
		g.unused = max(0, reserved-g.allocated)
	}
	g.own, _ = read(oomOwn)
	g.processes(oomProcess.FindAllStringSubmatch(text, -1))
	return g, known[0] && known[1] && known[2] && known[3]
}

// processes adds up what other processes hold. In a container the driver cannot
// tell which process is our own: then it is the one that holds about what PyTorch
// reserved. A figure above the card's size is a known slip of the driver.
func (g *gpuMemory) processes(found [][]string) {
	for _, process := range found {
		held, ok := sizeOf(process[1])
		if !ok || held > 1.1*g.total {
			continue
		}
		spare := held - g.reserved()
		both := held+g.reserved() > g.total-g.free+0.1*gib // more than is taken: one is part of the other
		if g.own == 0 && spare > -0.1*gib && (spare < 2*overhead(g.total) || both) {
			g.own = held
			continue
		}
		g.others += held
	}
	if g.own > 1.1*g.total {
		g.own = 0
	}
}

// sum shows the arithmetic to people.
func (g gpuMemory) sum() string {
	text := fmt.Sprintf(" [%s of the card: %s free, %s allocated, %s reserved and unused", size(g.total), size(g.free), size(g.allocated), size(g.unused))
	if rest := g.total - g.free - g.reserved(); rest >= 0.05*gib {
		text += fmt.Sprintf(", %s beside PyTorch", size(rest))
	}
	return text + fmt.Sprintf("; in one piece, up to %s would have fitted]", size(g.free+g.unused))
}

// judge tells the cause, in the order in which one excludes the next.
func (g gpuMemory) judge() *Reading {
	const capacity, fragmented, foreign, reservation = "true-capacity-oom", "memory-fragmentation", "other-process-on-gpu", "memory-reservation-config"
	say := func(weight float64, format string, args ...any) *Reading {
		return &Reading{Weight: weight, Meaning: fmt.Sprintf("no room for %s: ", size(g.request)) + fmt.Sprintf(format, args...) + g.sum()}
	}
	because := func(r *Reading, causes ...string) *Reading { r.Causes = causes; return r }
	others := g.foreign()
	switch {
	case g.request > g.total:
		return because(say(0.9, "the whole card has %s", size(g.total)), capacity)
	case g.allowed > 0 && g.reserved()+g.request > g.allowed:
		return because(say(0.8, "this process may use %s of %s and holds %s", size(g.allowed), size(g.total), size(g.reserved())), reservation, capacity)
	case g.allocated > g.total:
		return because(say(0.8, "%s in use on a card of %s, the rest is in host memory", size(g.allocated), size(g.total)), capacity)
	case g.others >= 0.1*g.total && g.request <= g.free+g.others, others >= 0.5*g.total:
		return because(say(0.8, "other processes hold %s of %s, this one %s", size(others), size(g.total), size(g.reserved())), foreign, "mig-or-sharing-config", capacity)
	case others >= max(2*gib, 0.2*g.total):
		return because(say(0.6, "%s of %s are not this process's", size(others), size(g.total)), foreign, capacity, "mig-or-sharing-config")
	case g.request <= g.free:
		return because(say(0.45, "%s are free all the same", size(g.free)), fragmented, foreign, capacity)
	case g.request > g.free+g.unused:
		return because(say(0.75, "%s free and %s reserved but unused would not be enough together", size(g.free), size(g.unused)), capacity, "memory-leak-growth", "mig-or-sharing-config")
	case g.fragments() >= 0.35:
		return because(say(0.8, "%s are reserved and only %s of them used, in pieces that do not fit", size(g.reserved()), size(g.allocated)), fragmented, capacity)
	case g.fragments() >= 0.25:
		return because(say(0.55, "%s are reserved and %s of them used", size(g.reserved()), size(g.allocated)), fragmented, capacity)
	case g.fragments() >= 0.15 && g.unused >= 4*g.request:
		return because(say(0.6, "%s are reserved and unused, in pieces that do not fit", size(g.unused)), fragmented, capacity)
	case g.fragments() >= 0.15:
		return because(say(0.6, "%s of %s are used, %s lie in pieces", size(g.allocated), size(g.total), size(g.unused)), capacity, fragmented)
	}
	return because(say(0.75, "%s of %s are used by this process itself", size(g.allocated), size(g.total)), capacity, "memory-leak-growth", "mig-or-sharing-config")
}
