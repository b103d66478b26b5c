package diagnosis

import (
	"math"
	"strings"
	"testing"
)

// TestMemoryOf reads every form of the message since PyTorch 1.0.
func TestMemoryOf(t *testing.T) {
	cases := map[string]struct {
		text string
		want gpuMemory
		cut  bool
	}{
		"1.3": {"CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity; 7.00 GiB already allocated; 16.00 MiB free; 512.00 MiB cached)",
			gpuMemory{request: 20 * mib, total: 8 * gib, free: 16 * mib, allocated: 7 * gib, unused: 512 * mib}, false},
		"1.9": {"CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity; 6.00 GiB already allocated; 204.80 KiB free; 7.50 GiB reserved in total by PyTorch)",
			gpuMemory{request: 20 * mib, total: 8 * gib, free: 204.8 * kib, allocated: 6 * gib, unused: 1.5 * gib}, false},
		"2.1, misspelt": {"CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacty of 16.00 GiB of which 0 bytes is free. Including non-PyTorch memory, this process has 15.50 GiB memory in use. Of the allocated memory 14.00 GiB is allocated by PyTorch, and 512.00 MiB is reserved by PyTorch but unallocated.",
			gpuMemory{request: 2 * gib, total: 16 * gib, allocated: 14 * gib, unused: 512 * mib, own: 15.5 * gib}, false},
		"2.4, others and private pools": {"CUDA out of memory. Tried to allocate 1.00 GiB. GPU 1 has a total capacity of 80.00 GiB of which 1.00 GiB is free. Process 7 has 30.00 GiB memory in use. Process 8 has 17179869184.00 GiB memory in use. Including non-PyTorch memory, this process has 49.00 GiB memory in use. Of the allocated memory 47.00 GiB is allocated by PyTorch, with 2.00 GiB allocated in private pools (e.g., CUDA Graphs), and 1.00 GiB is reserved by PyTorch but unallocated.",
			gpuMemory{request: gib, total: 80 * gib, free: gib, allocated: 47 * gib, unused: gib, own: 49 * gib, others: 30 * gib}, false},
		"in a container the own process has a number": {"CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of which 0.10 GiB is free. Process 5 has 23.50 GiB memory in use. Of the allocated memory 22.00 GiB is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but unallocated.",
			gpuMemory{request: gib, total: 24 * gib, free: 0.1 * gib, allocated: 22 * gib, unused: gib, own: 23.5 * gib}, false},
		"a share": {"CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of which 10.00 GiB is free. 12.00 GiB allowed; Of the allocated memory 11.00 GiB is allocated by PyTorch, and 0.50 GiB is reserved by PyTorch but unallocated.",
			gpuMemory{request: gib, total: 24 * gib, free: 10 * gib, allocated: 11 * gib, unused: 0.5 * gib, allowed: 12 * gib}, false},
		"cut": {"CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of wh",
			gpuMemory{request: gib}, true},
		"another message behind it": {"CUDA out of memory. Tried to allocate 1.00 GiB. \nCUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 8.00 GiB total capacity; 7.00 GiB already allocated; 16.00 MiB free; 30.00 MiB cached)",
			gpuMemory{request: gib}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wrapped := strings.ReplaceAll(tc.text, " of ", "\n     of ") // as a terminal sets it
			for _, text := range []string{tc.text, wrapped} {
				got, complete := memoryOf(text)
				if complete == tc.cut {
					t.Errorf("complete is %v", complete)
				}
				if !sameMemory(got, tc.want) && !tc.cut {
					t.Errorf("got  %+v\nwant %+v", got, tc.want)
				}
			}
		})
	}
}

func sameMemory(a, b gpuMemory) bool {
	for _, pair := range [][2]float64{{a.request, b.request}, {a.total, b.total}, {a.free, b.free}, {a.allocated, b.allocated},
		{a.unused, b.unused}, {a.own, b.own}, {a.others, b.others}, {a.allowed, b.allowed}} {
		if math.Abs(pair[0]-pair[1]) > 1 {
			return false
		}
	}
	return true
}

// TestJudgeMemory: which cause follows from which division of the card.
func TestJudgeMemory(t *testing.T) {
	cases := map[string]struct {
		memory gpuMemory
		cause  string
		sure   bool
	}{
		"more than the card":               {gpuMemory{request: 90 * gib, total: 80 * gib, free: 70 * gib}, "true-capacity-oom", true},
		"over the allowed share":           {gpuMemory{request: 2 * gib, total: 80 * gib, free: 40 * gib, allowed: 40 * gib, allocated: 39 * gib}, "memory-reservation-config", true},
		"another process":                  {gpuMemory{request: gib, total: 80 * gib, free: 0.5 * gib, allocated: 20 * gib, own: 21 * gib, others: 58 * gib}, "other-process-on-gpu", true},
		"another process that is not told": {gpuMemory{request: 20 * mib, total: 16 * gib, free: 15 * mib, allocated: 4 * gib}, "other-process-on-gpu", true},
		"a small neighbour is not to blame": {gpuMemory{request: 8 * gib, total: 80 * gib, free: gib, allocated: 76 * gib, own: 77 * gib, others: gib},
			"true-capacity-oom", true},
		"pieces":                      {gpuMemory{request: 2 * gib, total: 80 * gib, free: gib, allocated: 40 * gib, unused: 37 * gib, own: 78 * gib}, "memory-fragmentation", true},
		"pieces would not do":         {gpuMemory{request: 23 * gib, total: 32 * gib, free: 12 * gib, allocated: 9 * gib, unused: 9 * gib, own: 19 * gib}, "true-capacity-oom", true},
		"full":                        {gpuMemory{request: gib, total: 80 * gib, free: 0.5 * gib, allocated: 77 * gib, unused: gib, own: 79 * gib}, "true-capacity-oom", true},
		"the context of a small card": {gpuMemory{request: 20 * mib, total: 4 * gib, free: mib, allocated: 3 * gib}, "true-capacity-oom", true},
		"free all the same":           {gpuMemory{request: 20 * mib, total: 4 * gib, free: 2 * gib, allocated: gib}, "memory-fragmentation", false},
	}
	for name, tc := range cases {
		got := tc.memory.judge()
		if got.Causes[0] != tc.cause || got.Weight >= sure != tc.sure {
			t.Errorf("%s: got %s with %.2f (%s)", name, got.Causes[0], got.Weight, got.Meaning)
		}
	}
}
