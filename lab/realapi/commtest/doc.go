// Package commtest holds the tests of the communication test's hands against
// a real control plane: scheduler, Job controller, garbage collector, RBAC and
// the log API are the real ones; the nodes, and what the test's program
// prints there, come from the lab's fault model.
package commtest
