// Package steps holds the verbs of gpumedic as contracts: for each step its
// name, parameters, result, kind, whether it mutates, and its undo. The
// workflow calls a step by its contract; a package under activities carries
// it out; the table All is what the worker registers, the runbook loader
// accepts and the documentation lists.
package steps
