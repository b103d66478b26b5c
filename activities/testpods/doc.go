// Package testpods is what the pods that gpumedic starts itself have in
// common, whatever they measure: the communication test between nodes and the
// probe of storage. It says what such a pod may be under its namespace's pod
// security level, whose an object is that stands under the wanted name, why a
// pod does not start, and what an error of the API server means. It starts
// nothing itself.
package testpods
