// Package faults is what runs in the lab's containers. It plays the programs
// of the pods (a distributed training, the communication test) and decides
// from the real objects of the API server and from the container's own
// environment and resources what each of them prints and how it ends. Nothing
// is scripted per scenario: a NetworkPolicy that is applied stops the ranks
// that it stops, and when it is gone they connect. A Script adds what no
// object tells: a rank that outgrows its memory, a fabric that drops packets.
//
// # What is read
//
// Pods (labels, addresses, nodes, named ports, volumes), Nodes (GPU product, leaf
// switch), Namespaces (labels), Services (names of pods), NetworkPolicies,
// PersistentVolumeClaims (class, volume); of the container its image, resource
// limits and the literal values of its environment (envFrom and references to
// ConfigMaps and Secrets are not followed).
//
// # The programs
//
//   - A pod with the label gpumedic.io/comm-test=true plays the communication
//     test: events as JSON lines, and NCCL's lines.
//   - A pod with the label gpumedic.io/io-probe=true plays the probe of storage:
//     its JSON lines, with the figures of the class of each claim.
//   - A container of an image lab.gpumedic.io/train plays a training: PyTorch
//     over NCCL 2.23.4, one process per pod, so that a pod is a rank.
//   - Everything else sleeps until it is stopped.
//
// # The network
//
// TCP between pods goes through the NetworkPolicies first; what they stop is
// answered at once with "No route to host", as plugins that reject do. Then
// comes the fabric; what it drops (Script.FabricBlocks) ends in a time-out.
// Each rank listens on a port of the ephemeral range that is drawn from its
// pod's identity, so a policy that opens half of the range helps half of the
// ranks. Consent is asked when a connection is opened; connections that exist
// go on, as connection tracking would have it. RDMA traffic passes by
// policies. Names need a Service, a pod and port 53 of the cluster's DNS.
//
// # The fabric
//
// RDMA has faults of its own, which only a Script tells: adapters of a node
// that let nothing through, little, or nothing now and then (NodeFault), uplinks
// of leaf switches, and the way between two nodes. NCCL's ring goes through the
// ranks in their order; whoever sends over a part that is down gets no answer
// (completion status 12), the other ranks see only that these have gone. TCP and
// what stays inside a node are not touched, so the ranks meet and then fail.
// Whether a flaky node fails a test is drawn from its name and the test's purpose,
// round and group: it is the same every time the lab plays the same.
//
// # Memory and data
//
// What a rank holds follows from its options (variables or arguments such as
// MICRO_BATCH and --micro-batch), its allocator's settings, the product of its
// node's GPUs or its slice, its memory limit and the volume at /dev/shm; how long
// it waits for a batch from its workers, its CPUs, the storage class of the claim
// under its data and whether an init container filled its cache. A Script's
// Training holds what no object tells. What does not fit ends as in PyTorch, with
// figures that add up. Every attempt begins at step 1, as from one checkpoint.
//
// # Time is compressed
//
// Where a real rank tries for a minute, this one prints the lines of the last
// tries within a second; texts keep the real durations ("timed out after
// 60000ms"). Ranks that wait for peers that have not been started wait in real
// time. A training step takes 200 ms over RDMA, ten times as long over TCP,
// and prints the times that eight such nodes would show. From the moment the
// pods run it is less than a second to the first step, and less than one and
// a half from a failure to the exit.
package faults
