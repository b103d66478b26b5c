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
)
