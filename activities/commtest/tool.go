package commtest

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
)

// mpiJobs is the API of the Kubeflow MPI operator, version 2.
var mpiJobs = schema.GroupVersionResource{Group: "kubeflow.org", Version: "v2beta1", Resource: "mpijobs"}

// choose says which tool runs a group's test. A group of one is the script's
// where its image is known: nccl-tests does not measure each GPU by itself.
func (h *Hands) choose(ctx context.Context, group incident.Group, s incident.CommTestSettings) (machine, error) {
	switch {
	case s.Tool != ToolNCCL && s.Tool != toolAuto, s.Tool == toolAuto && s.NCCLTestsImage == "":
		return jobMachine{}, nil
	case len(group.Nodes) == 1 && s.Image != "":
		return jobMachine{}, nil
	}
	served, err := h.servesMPIJobs()
	switch {
	case err != nil:
		return nil, err
	case served:
		return mpiMachine{}, nil
	case s.Tool == toolAuto:
		h.log().Debug("no MPI operator in the cluster, the script is used", "group", group.ID)
		return jobMachine{}, nil
	}
	f := incident.Faultf(incident.Unsupported, errors.New("the cluster does not serve kubeflow.org/v2beta1 MPIJobs"), "running nccl-tests on group %s", group.ID)
	f.Next = "install the Kubeflow MPI operator, or set comm_test.tool to torch or auto"
	return nil, f
}

func (h *Hands) servesMPIJobs() (bool, error) {
	if h.Dynamic == nil {
		return false, nil
	}
	list, err := h.Kube.Discovery().ServerResourcesForGroupVersion(mpiJobs.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, testpods.Fault(err, "asking whether the cluster serves MPIJobs")
	}
	for _, served := range list.APIResources {
		if served.Name == mpiJobs.Resource {
			return true, nil
		}
	}
	return false, nil
}
