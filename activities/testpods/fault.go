package testpods

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"gpumedic/incident"
)

// Fault classifies an error of the API server.
func Fault(err error, format string, args ...any) error {
	f := incident.Faultf(kindOf(err), err, format, args...)
	if f.Kind == incident.Forbidden {
		f.Next = "grant the cluster worker's service account this verb, or look for a quota or admission rule of the namespace"
	}
	return f
}

func kindOf(err error) incident.Kind {
	var status apierrors.APIStatus
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return incident.TimedOut
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return incident.Forbidden
	case apierrors.IsNotFound(err):
		return incident.Missing
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return incident.Conflict
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return incident.Invalid
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err):
		return incident.Unreachable
	case errors.As(err, &status):
		return incident.Internal
	default: // no answer of an API server at all
		return incident.Unreachable
	}
}

// Foreign is the fault of meeting an object under our name that we did not create.
func Foreign(kind, namespace, name string) error {
	f := incident.Faultf(incident.Conflict, errors.New("it exists and does not belong to this incident"), "using %s %s/%s", kind, namespace, name)
	f.Next = "remove or rename it; gpumedic never touches objects that it did not create"
	return f
}
