// Package incident holds the nouns of gpumedic: alert, target, finding, root
// cause, plan, approval, change, evidence and the record that a report is
// made of. It imports the standard library only, so that a reader learns the
// business here before the machinery.
//
// Every type is plain data and survives a round trip through JSON. The JSON
// names of the types inside Record are a published contract (report.json);
// times are RFC 3339 UTC, durations end in _seconds, sizes in _bytes and
// bandwidths in _gbps, giga*bytes* per second as nccl-tests prints them.
package incident
