// Package crds brings the custom resources of training operators into the lab,
// from the schemas that their projects publish as Go modules: JobSet, PyTorchJob,
// MPIJob, TrainJob and RayJob. The operators themselves do not run: objects of
// these kinds are validated and defaulted as in a real cluster, and nobody makes
// pods for them.
//
// The schemas are not kept in this repository. They come from the Go module
// cache, and are refused when the module's hash is not the one that was pinned.
package crds
