// Package commtest carries out the communication test of one group of nodes:
// one pod on exactly each node of the group, which run collectives that really
// cross the nodes. It waits by watching, keeps the logs as evidence and turns
// them into an incident.Outcome. It also asks the planner for rounds, says
// whether the nodes have room, and removes what it made.
//
// Two tools measure (docs/COMMTEST.md tells a site which it wants): the script
// of this package on PyTorch in an Indexed Job, described below, and
// nccl-tests in an MPIJob of the Kubeflow MPI operator (mpiMachine), whose
// launcher's log is read and judged by the same law. Fabrics hold the defaults
// per kind of network.
//
// # How the pods find each other
//
// A pod is a rank: its rank is the Job's completion index. Ranks meet at
// MASTER_ADDR:MASTER_PORT, which is pod 0 by the name that the headless
// Service gives it. Every rank checks in there, so that rank 0 can name the
// ranks that did not arrive; then every rank connects to every other rank on a
// port the kernel chose, as NCCL's bootstrap does, so that a policy or a path
// that blocks one direction is named too; only then torch and NCCL are asked.
//
// The pod's keeper then starts one process per GPU with the environment that
// torchrun gives (RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).
// COMMTEST_LAUNCHER=torchrun in comm_test.env lets torchrun start them, with
// its static rendezvous. It is not the default: torchrun's rendezvous before
// ours would hide who is missing, and after ours it adds nothing but ways to
// fail that depend on the image. (Debian 12's torchrun of torch 1.13 dies
// under Python 3.11 before it starts anything.) A launcher that dies so makes
// the test an error and blames no node.
//
// The pods get this environment, settings.Env cannot override it:
//
//	RANK            the completion index
//	NNODES          pods of the Job = nodes of the group = "world" in events
//	NPROC_PER_NODE  processes in each pod, one per GPU
//	MASTER_ADDR     <job>-0.<job>.<namespace>
//	MASTER_PORT     29500; the next port is used by torch's own store
//	COMMTEST_TOKEN  the Job's name; a stranger's connection is refused by it
//	COMMTEST_OPS    collectives, separated by commas: all_reduce,all_gather,sendrecv
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
// Every collective is checked for right contents at every size and then timed;
// bus bandwidth is counted as nccl-tests counts it (its doc/PERFORMANCE.md):
// bytes/seconds times 2(n-1)/n for all_reduce, (n-1)/n for all_gather, 1 for
// sendrecv, which goes to the same GPU of the next node. Each process tells
// its own times too (see slowNodes).
//
// # What an outcome means
//
// "pass" and "fail" are statements about the network and need positive
// evidence: pass needs every rank, the whole sweep, right contents and, where
// an expectation is known, the bandwidth of all_reduce at the largest size;
// fail needs an error event or a crash after the start. Everything else (no
// place for a pod, image not pulled, launcher broken, log incomplete, world of
// one) is "error": the test could not be run and says nothing about the nodes.
//
// Ranks that waited in vain blame those that say nothing, else those that had
// begun fewest collectives. What a process hears when its peer has died is an
// echo and blames nobody.
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
