package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"

	"gpumedic/incident"
)

// classify turns an error of the API server, or of the way to it, into a
// Fault. The format says what was being done to what. A Fault keeps its kind;
// nil stays nil.
func classify(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	kind, next := kindOf(err)
	return &incident.Fault{Kind: kind, Doing: fmt.Sprintf(format, args...), Next: next, Err: err}
}

// kindOf sorts an error and says what a person can do about it.
func kindOf(err error) (incident.Kind, string) {
	var fault *incident.Fault
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &fault):
		return fault.Kind, ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded):
		return incident.TimedOut, ""
	case meta.IsNoMatchError(err):
		return incident.Missing, "the cluster serves no such kind: is its CRD installed?"
	case errors.As(err, &status):
		return kindOfStatus(err)
	}
	return kindOfWay(err)
}

// kindOfStatus sorts what the API server answered.
func kindOfStatus(err error) (incident.Kind, string) {
	switch {
	case apierrors.IsUnauthorized(err):
		return incident.Forbidden, "the API server does not accept the worker's credentials: renew them"
	case apierrors.IsForbidden(err):
		return incident.Forbidden, missingRule(err)
	case apierrors.IsResourceExpired(err):
		return incident.TimedOut, "" // a list that took longer than its token lives; asking anew helps
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return incident.Missing, ""
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return incident.Conflict, ""
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return incident.Invalid, ""
	case apierrors.IsMethodNotSupported(err), apierrors.IsNotAcceptable(err), apierrors.IsUnsupportedMediaType(err):
		return incident.Unsupported, ""
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return incident.TimedOut, ""
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err),
		apierrors.IsUnexpectedServerError(err):
		return incident.Unreachable, ""
	}
	return incident.Internal, ""
}

// denied is how the API server words what RBAC does not allow.
var denied = regexp.MustCompile(`cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// missingRule names the RBAC rule that would allow what was refused. A
// refusal that RBAC did not word (an admission plugin's) says it itself.
func missingRule(err error) string {
	found := denied.FindStringSubmatch(err.Error())
	if found == nil {
		return ""
	}
	where := "a ClusterRole"
	if found[4] != "" {
		where = "a Role in namespace " + found[4]
	}
	return fmt.Sprintf("give the worker %s with apiGroups [%q], resources [%q], verbs [%q]", where, found[3], found[2], found[1])
}

// kindOfWay sorts what went wrong on the way to the API server.
func kindOfWay(err error) (incident.Kind, string) {
	var timeout interface{ Timeout() bool }
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var way *net.OpError
	var request *url.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return incident.TimedOut, ""
	case errors.As(err, &certificate), errors.As(err, &authority):
		return incident.Unreachable, "check the cluster's certificate authority in the kubeconfig"
	case errors.As(err, &way), errors.As(err, &request), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), discovery.IsGroupDiscoveryFailedError(err):
		return incident.Unreachable, ""
	}
	return incident.Internal, ""
}
