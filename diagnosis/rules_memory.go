package diagnosis

import (
	"strings"

	"gpumedic/incident"
)

// What objects and metrics say of memory. The arithmetic of a GPU that ran out of
// it is in the message itself (readTorchOOM); these rules confirm or overrule it.

const (
	memoryCase = "cuda-oom"

	hostCause    = "host-oomkilled"
	leakCause    = "memory-leak-growth"
	foreignCause = "other-process-on-gpu"
	sliceCause   = "mig-or-sharing-config"
	shmCause     = "shm-too-small"
	piecesCause  = "memory-fragmentation"
	fullCause    = "true-capacity-oom"
	peerCause    = "peer-process-died"
)

var memoryRules = []rule{
	// A container that the kernel killed at its limit is as plain as it gets.
	{question: incident.HostMemoryKilled, cause: hostCause, failureCase: memoryCase,
		seen: 0.92, alone: 0.85, no: 0.85, blames: "pod"},
	{question: incident.NodeMemoryShort, cause: hostCause, failureCase: memoryCase,
		seen: 0.7, alone: 0.4, no: 1, blames: "node", common: true},
	{question: incident.GPUForeignProcess, cause: foreignCause, failureCase: memoryCase,
		seen: 0.9, alone: 0.55, no: 0.5, blames: "node"},
	// Growth alone is a lead: many programs fill their caches for hours and are well.
	{question: incident.GPUMemoryGrowing, cause: leakCause, failureCase: memoryCase,
		seen: 0.85, alone: 0.4, no: 0.7},
	{question: incident.GPUSliced, cause: sliceCause, failureCase: memoryCase,
		seen: 0.85, alone: 0.2, no: 0.3, common: true},
	// Caching allocators fill the card in health, too.
	{question: incident.GPUMemoryFull, cause: fullCause, failureCase: memoryCase,
		seen: 0.2, alone: 0.05, no: 1, common: true},
	// The runtime's 64 MiB are everybody's default.
	{question: incident.ShmSmall, cause: shmCause,
		seen: 0.85, alone: 0.15, no: 0.5, common: true},
}

// byForceSeen is how plainly a death for memory must be seen to explain its peers.
const byForceSeen = 0.8

// deaths tells what a rank's end means that needs more than one answer: one that
// was killed for memory is the cause by itself, and its peers' words are echoes.
func deaths(f facts, b *board) {
	for _, finding := range f.all(incident.RankDiedFirst) {
		if killedForMemory(finding) {
			c := b.of(memoryCase, hostCause)
			c.speak(cluster, 0.88, incident.RankDiedFirst, tell(finding))
			c.seenAs(0.88, memoryCase)
			c.accuse(1.88, incident.Blamed{Kind: "pod", Names: names(finding)})
		}
	}
	if c, peer := b.find(hostCause), b.find(peerCause); c != nil && peer != nil && c.support[cluster] >= byForceSeen {
		peer.object(0.5, incident.RankDiedFirst, "why the first rank died is known: it ran out of the host's memory")
	}
	settings(f, b)
}

// killedForMemory reads how a rank ended, "OOMKilled, exit 137".
func killedForMemory(finding incident.Finding) bool {
	told := strings.ToLower(finding.Value + " " + finding.Why)
	return strings.Contains(told, "oomkilled") || strings.Contains(told, "evicted") && strings.Contains(told, "memory")
}

// settings: pieces that remain although the allocator is told to avoid them are
// less likely to be the cause.
func settings(f facts, b *board) {
	c := b.find(piecesCause)
	if c == nil {
		return
	}
	for _, finding := range f.all(incident.AllocatorSet) {
		if strings.Contains(finding.Value, "expandable_segments:True") {
			c.object(0.7, incident.AllocatorSet, "the allocator already uses expandable segments: "+finding.Value)
		}
	}
}
