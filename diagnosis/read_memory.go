package diagnosis

import (
	"fmt"
	"regexp"
)

// What other tables and figures of memory tell.

var (
	summaryOOMs     = regexp.MustCompile(`CUDA OOMs: *(\d+)`)
	summaryUsed     = regexp.MustCompile(`Allocated memory *\| *([\d.]+ *[KMG]?i?B)`)
	summaryReserved = regexp.MustCompile(`GPU reserved memory *\| *([\d.]+ *[KMG]?i?B)`)

	bfcLimit   = regexp.MustCompile(`Limit: +(\d+)`)
	bfcInUse   = regexp.MustCompile(`\bInUse: +(\d+)`)
	bfcLargest = regexp.MustCompile(`LargestFreeBlock: +(\d+)`)
)

// readTorchSummary reads torch.cuda.memory_summary(): after an error, what is
// reserved against what is used.
func readTorchSummary(m *Match, text string) bool {
	ooms, _ := figure(summaryOOMs, text)
	used, known := figure(summaryUsed, text)
	reserved, both := figure(summaryReserved, text)
	if ooms == 0 || !known || !both || reserved == 0 {
		return false
	}
	share := 1 - used/reserved
	m.Reading = &Reading{Weight: 0.6, Causes: []string{"true-capacity-oom", "memory-fragmentation"},
		Meaning: fmt.Sprintf("an allocation failed while %s of %s reserved were used", size(used), size(reserved))}
	if share >= 0.35 {
		m.Reading.Weight, m.Reading.Causes = 0.75, []string{"memory-fragmentation"}
	}
	return true
}

// readBFC reads the statistics that TensorFlow's and XLA's allocator prints when
// an allocation failed.
func readBFC(m *Match, text string) bool {
	limit, known := figure(bfcLimit, text)
	used, both := figure(bfcInUse, text)
	if !known || !both || limit == 0 {
		return false
	}
	free := limit - used
	largest, pieces := figure(bfcLargest, text)
	m.Reading = &Reading{Weight: 0.7, Causes: []string{"true-capacity-oom"},
		Meaning: fmt.Sprintf("an allocation failed while %s of %s were used", size(used), size(limit))}
	if pieces && free > 0.3*limit && largest < 0.5*free {
		m.Reading = &Reading{Weight: 0.65, Causes: []string{"memory-fragmentation", "true-capacity-oom"},
			Meaning: fmt.Sprintf("an allocation failed while %s were free, in pieces of %s at most", size(free), size(largest))}
	}
	return true
}

// largeRequest is a single request that speaks for a model that does not fit; a
// small one only shows that the pool was full, for whatever reason.
const largeRequest = 2 * gib

// readRequest judges by the size of the request alone: all that XLA tells.
func readRequest(m *Match, _ string) bool {
	request, ok := sizeOf(m.Captures["bytes"])
	if !ok {
		return true
	}
	m.Reading = &Reading{Weight: 0.45, Causes: []string{"memory-reservation-config", "true-capacity-oom", "memory-fragmentation", "other-process-on-gpu"},
		Meaning: fmt.Sprintf("not even %s were left of the pool", size(request))}
	if request >= largeRequest {
		m.Reading = &Reading{Weight: 0.6, Causes: []string{"true-capacity-oom", "memory-fragmentation", "memory-reservation-config"},
			Meaning: fmt.Sprintf("a single request wants %s", size(request))}
	}
	return true
}
