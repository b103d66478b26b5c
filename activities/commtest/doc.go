// Package commtest carries out the communication test of one group of nodes:
// an Indexed Job with exactly one pod on each node of the group, whose pods
// find each other over a headless Service and run an all-reduce that really
// crosses the nodes. It waits by watching, keeps the logs of all pods as
// evidence and turns them into an incident.Outcome.
//
// # How the pods find each other
//
// A pod is a rank: its rank is the Job's completion index. Ranks meet at
// MASTER_ADDR:MASTER_PORT, which is pod 0 by the name that the headless
// Service gives it. Every rank checks in there, so that rank 0 can name the
// ranks that did not arrive; then every rank connects to every other rank on a
// port the kernel chose, as NCCL's bootstrap does, so that a policy or a path
// that blocks one direction is named too; only then NCCL is asked. The script
// starts its own processes, one per GPU, instead of using torchrun: torchrun's
// rendezvous comes before any code of ours and hides who is missing.
//
// The pods get this environment, settings.Env cannot override it:
//
//	RANK            the completion index
//	NNODES          pods of the Job = nodes of the group = "world" in events
//	NPROC_PER_NODE  processes in each pod, one per GPU
//	MASTER_ADDR     <job>-0.<job>.<namespace>
//	MASTER_PORT     29500; the next port is used by torch's own store
//	COMMTEST_TOKEN  the Job's name; a stranger's connection is refused by it
//	COMMTEST_SIZES  message sizes in bytes, ascending, separated by commas
//	COMMTEST_MEET_SECONDS  bound of the check-in
//	COMMTEST_RUN_SECONDS   bound of what follows it
//	NODE_NAME       the node, the "host" in events
//
// # What they print
//
// JSON objects, one a line, mixed with what NCCL prints; events lists them.
// A group of one node runs the same script: such a test says something about
// that node's GPUs and nothing about the network, and is judged so.
//
// # What an outcome means
//
// "pass" and "fail" are statements about the network and need positive
// evidence: pass needs every rank, the whole sweep, right sums and, where an
// expectation is known, the bandwidth; fail needs an error event or a crash
// after the start. Everything else (no place for a pod, image not pulled, log
// incomplete, world of one) is "error": the test could not be run and says
// nothing about the nodes.
//
// # Security context
//
// The pods mount no token, may not gain privileges, drop all capabilities and
// use the runtime's seccomp profile. One capability is given back: IPC_LOCK,
// when the settings request devices beside the GPUs (RDMA), because
// registering memory for RDMA needs it unless the container runtime lifts
// the memlock limit. Pod security levels "baseline" and "restricted" forbid
// IPC_LOCK, so it is left out in a namespace that enforces one of them; then
// the runtime's memlock limit must be unlimited.
package commtest
