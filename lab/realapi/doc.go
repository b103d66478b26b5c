// Package realapi holds the tests of the cluster's hands against a real API
// server: server-side apply, dry runs, field managers, preconditions, the Job
// controller and RBAC are the real ones, because no fake has their answers.
package realapi
