// Package diagnosis turns log lines and cluster findings into ranked root
// causes. It is pure: text in, verdict out, no clock, no network, no chance.
//
// It works in stages that can be used apart. A Classifier streams a log through
// the signatures (block.go reads, prefilter.go finds literals, scan.go and try.go
// look at their lines) and reports matches. Where the numbers of a line decide, a
// reader weighs them (readers.go, read_*.go, schedule.go). A Collector folds the
// matches of all ranks into observations. Diagnose weighs observations, findings
// and a communication test against each other and answers with causes, best first,
// each with the evidence for and against; DiagnoseText does so for text alone.
//
// What a confidence means in an incident:
//
//	0.9 and above   two independent kinds of evidence agree (logs, cluster
//	                objects, communication test) and nothing contradicts
//	0.6 to 0.9      one kind names the cause, or two do and a check that could
//	                contradict could not be asked
//	0.5 to 0.6      the likeliest of several explanations of one kind of evidence
//	under 0.5       a lead; the answer is then "unknown", the leads follow it
//
// 0.95 needs a log line that names the cause and a cluster object that is the
// cause (or a test that shows it), both strong, and no answer that is unknown.
// Nothing reaches 1. For "unknown" and for "none-of-these" the confidence is that
// of the failure case: that something is wrong, or that nothing is.
//
// For text alone the confidence is the weight of the line that says most, 0.9 at
// most. It is meant as a frequency: of the answers given with 0.9, nine in ten
// ought to be right (docs/BENCHMARKS.md has the table).
package diagnosis
