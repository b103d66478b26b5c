// Package deploy holds what is applied to a cluster that gpumedic looks after,
// embedded so that the lab runs the worker under exactly these roles.
package deploy

import _ "embed"

// RBAC is the service account of the worker and the roles it needs, as YAML.
// Its last two bindings are for the namespace "training"; a site repeats them
// for each namespace of workloads.
//
//go:embed rbac.yaml
var RBAC []byte
