package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"gpumedic/incident"
)

func TestClassify(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, test := range map[string]struct {
		err  error
		want incident.Kind
	}{
		"not found":       {apierrors.NewNotFound(pods, "x"), incident.Missing},
		"gone":            {&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonGone, Code: 410}}, incident.Missing},
		"list expired":    {apierrors.NewResourceExpired("the token is too old"), incident.TimedOut},
		"unauthorized":    {apierrors.NewUnauthorized("x"), incident.Forbidden},
		"forbidden":       {apierrors.NewForbidden(pods, "x", errors.New("no")), incident.Forbidden},
		"conflict":        {apierrors.NewConflict(pods, "x", errors.New("changed")), incident.Conflict},
		"exists":          {apierrors.NewAlreadyExists(pods, "x"), incident.Conflict},
		"invalid":         {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "x", nil), incident.Invalid},
		"bad request":     {apierrors.NewBadRequest("x"), incident.Invalid},
		"no such method":  {apierrors.NewMethodNotSupported(pods, "watch"), incident.Unsupported},
		"server timeout":  {apierrors.NewServerTimeout(pods, "get", 1), incident.TimedOut},
		"timeout":         {apierrors.NewTimeoutError("x", 1), incident.TimedOut},
		"too many":        {apierrors.NewTooManyRequests("x", 1), incident.Unreachable},
		"unavailable":     {apierrors.NewServiceUnavailable("x"), incident.Unreachable},
		"internal":        {apierrors.NewInternalError(errors.New("x")), incident.Unreachable},
		"no such kind":    {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "X"}}, incident.Missing},
		"deadline":        {fmt.Errorf("waiting: %w", context.DeadlineExceeded), incident.TimedOut},
		"cancelled":       {context.Canceled, incident.TimedOut},
		"refused":         {&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, incident.Unreachable},
		"broken off":      {io.ErrUnexpectedEOF, incident.Unreachable},
		"a fault of ours": {incident.Faultf(incident.Conflict, nil, "x"), incident.Conflict},
		"anything else":   {errors.New("x"), incident.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			err := classify(test.err, "reading pod %s", "p")
			if incident.KindOf(err) != test.want {
				t.Errorf("got %s, want %s", incident.KindOf(err), test.want)
			}
			if !errors.Is(err, test.err) || !strings.HasPrefix(err.Error(), "reading pod p: ") {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := classify(nil, "nothing"); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestForbiddenNamesTheRule(t *testing.T) {
	for words, want := range map[string]string{
		`User "u" cannot list resource "jobsets" in API group "jobset.x-k8s.io" in the namespace "training"`: `give the worker a Role in namespace training with apiGroups ["jobset.x-k8s.io"], resources ["jobsets"], verbs ["list"]`,
		`User "u" cannot get resource "nodes" in API group "" at the cluster scope`:                          `give the worker a ClusterRole with apiGroups [""], resources ["nodes"], verbs ["get"]`,
		`User "u" cannot get resource "pods/log" in API group "" in the namespace "training"`:                `resources ["pods/log"]`,
	} {
		err := classify(apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(words)), "asking")
		contains(t, err.Error(), want)
	}
}

// TestClassifyRealConnections asks an address where nobody listens, and a
// server that hangs up.
func TestClassifyRealConnections(t *testing.T) {
	closed := httptest.NewServer(nil)
	address := closed.URL
	closed.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("training").Get(t.Context(), "p", metav1.GetOptions{})
	if got := classify(err, "reading pod p"); incident.KindOf(got) != incident.Unreachable {
		t.Errorf("nobody listens: %v is %s", got, incident.KindOf(got))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, err = client.CoreV1().Pods("training").Get(ctx, "p", metav1.GetOptions{})
	if got := classify(err, "reading pod p"); incident.KindOf(got) != incident.TimedOut {
		t.Errorf("no time: %v is %s", got, incident.KindOf(got))
	}
}
