package incident

// The questions that checks answer: ids of findings. Diagnosis reasons with
// them, so the set is closed and named in one place.
const (
	// D1, workload state.
	RanksFailing   = "ranks-failing"   // ranks failed or keep restarting; value "3 of 8"
	RankDiedFirst  = "rank-died-first" // subject is the pod; value "OOMKilled, exit 137"
	RanksMissing   = "ranks-missing"   // fewer pods than the target declares
	WorkloadFailed = "workload-failed" // the owner gave up (a Failed condition)

	// D2, NCCL environment.
	EnvDiffers      = "nccl-env-differs"   // a variable differs between ranks
	EnvDead         = "nccl-env-dead"      // a variable that no NCCL since 2.4 reads
	EnvRDMADisabled = "nccl-rdma-disabled" // NCCL_IB_DISABLE=1 or NCCL_NET=Socket is set
	EnvInterface    = "nccl-socket-ifname" // NCCL_SOCKET_IFNAME is set; value is it

	// D3, network policies.
	PolicyBlocksRanks = "policy-blocks-ranks" // subject names the policies; value "56 of 56 directions"
	PolicyBlocksDNS   = "policy-blocks-dns"   // ranks cannot resolve names

	// D4, placement.
	RanksScattered = "ranks-scattered" // ranks cross leaf switches that would not be needed
	NodeNotReady   = "node-not-ready"  // a node of the ranks is not Ready

	// D5, RDMA.
	RDMANotRequested = "rdma-not-requested" // the pods request no RDMA device
	RDMAOffered      = "rdma-offered"       // the nodes of the ranks offer one; value "rdma/x"
	InterfaceMissing = "interface-missing"  // NCCL_SOCKET_IFNAME names none of the pods' interfaces

	// D6, logs of all ranks.
	TransportUsed    = "transport"         // value "IB", "Socket", "mixed"; unknown when no line tells
	TrainingProgress = "training-progress" // steps were logged by every rank
	RanksSilent      = "ranks-silent"      // ranks that logged nothing

	// The communication test. One verdict answers all five; after one that is
	// inconclusive they are unknown.
	CommTestNodeBad        = "comm-test-node-bad"       // subject "node/NAME"; value the confidence, "slow, 0.99" where it is slow
	CommTestLinkBad        = "comm-test-link-bad"       // subject "link/A<->B"
	CommTestSwitchBad      = "comm-test-switch-bad"     // subject "switch/NAME"
	CommTestInfrastructure = "comm-test-infrastructure" // nothing that crosses nodes works; nobody is blamed
	CommTestClean          = "comm-test-clean"          // the nodes can talk

	// Room for the communication test. It is asked only where there is none.
	RanksHoldGPUs = "ranks-hold-gpus" // stopping the job's own ranks would make the room

	// Memory of GPUs and hosts (D1, G1). The arithmetic is in the sentence.
	GPUMemoryFull     = "gpu-memory-full"     // subject "pod/NAME"; value "97 %" of used + free + reserved framebuffer
	GPUMemoryGrowing  = "gpu-memory-growing"  // use grew over the window without falling back; value "1.2 GiB/h"
	GPUForeignProcess = "gpu-foreign-process" // a process that is not the pod's holds memory of its GPU; value "61 GiB"; the sentence names its owner
	GPUSliced         = "gpu-sliced"          // the pods got a slice (MIG, time-slicing); value "nvidia.com/mig-1g.10gb"
	HostMemoryKilled  = "host-memory-killed"  // a container was OOMKilled (exit 137), or its pod evicted for memory; value is its limit
	NodeMemoryShort   = "node-memory-short"   // subject "node/NAME"; MemoryPressure, or evictions for memory
	ShmSmall          = "shm-small"           // /dev/shm is the runtime's 64 MiB or a smaller volume than the loader needs; value is its size
	AllocatorSet      = "allocator-set"       // an allocator's settings are in the environment; value is them
	KnobsDeclared     = "knobs-declared"      // the owner declares what may be turned; value "micro-batch, accumulation"
	LargerGPUFree     = "larger-gpu-free"     // nodes with a larger GPU product have room for every rank; value is the product

	// GPUs of the whole cluster (G3, G4).
	GPUsUnexposed  = "gpus-unexposed"  // subject "node/NAME"; a GPU node offers fewer GPUs than it has; value "0 of 8"
	GPUsFragmented = "gpus-fragmented" // enough for a rank are free, but on no one node; value "6 free, at most 2 on one node"

	// Input of data (P1-P5, G1).
	GPUsIdle          = "gpus-idle"           // utilisation is low while the ranks run; value "12 %"
	InputWaits        = "input-waits"         // steps wait for input; value is the share of a step, "78 %"
	IOWaitHigh        = "io-wait-high"        // the nodes' CPUs wait for storage; value "35 %"
	CPUSaturated      = "cpu-saturated"       // the ranks use all the CPU they may; value "98 % of 8 CPUs"
	VolumeUnbound     = "volume-unbound"      // subject "pvc/NAME"; a claim is pending or lost
	VolumeMountFails  = "volume-mount-fails"  // FailedMount, FailedAttachVolume; value is the reason
	VolumeFull        = "volume-full"         // bytes or inodes; value "99 % of inodes"
	VolumeClassSlow   = "volume-class-slow"   // the claim's class is a slow one and a faster one exists; value "standard-hdd, faster: premium-ssd"
	StorageSlow       = "storage-slow"        // measured by the probe: value "41 MB/s, 38 ms"
	SmallFilesSlow    = "small-files-slow"    // large reads are quick, many small ones are not; value "280 reads/s, 14 ms"
	CacheCold         = "cache-cold"          // a cache is declared and was empty or missed; value is its directory
	CacheMissing      = "cache-missing"       // no cache is declared for a remote dataset
	LoaderWorkersFew  = "loader-workers-few"  // value "0 workers of 8 CPUs"
	LoaderWorkersDie  = "loader-workers-die"  // a worker was killed; the sentence says by what
	PreprocessingFail = "preprocessing-fails" // a job that prepares the data fails or lags
)
