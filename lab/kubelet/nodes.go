package kubelet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

const (
	leaseSeconds = 40
	renewEvery   = 10 * time.Second
	readyWithin  = 30 * time.Second
	askAgain     = 20 * time.Millisecond
)

// register creates the nodes, makes them Ready and keeps their leases.
func (k *Kubelet) register(ctx context.Context) error {
	for n := range k.topology.Nodes {
		if err := k.registerNode(ctx, k.topology.node(n, k.port)); err != nil {
			return err
		}
	}
	k.tasks.Go(k.renewLeases)
	return nil
}

// schedulable waits until the node controller has taken its taint of new nodes
// away: till then the scheduler finds no place for anything.
func (k *Kubelet) schedulable(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errors.New("the node lifecycle controller did not take their taint away"))
	defer cancel()
	for {
		list, err := k.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("asking whether the nodes are ready: %w", err)
		}
		tainted := slices.IndexFunc(list.Items, func(n corev1.Node) bool {
			return n.Annotations[SimulatedAnnotation] == "true" && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
				return t.Key == corev1.TaintNodeNotReady
			})
		})
		if tainted < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for node %s to be ready: %w", list.Items[tainted].Name, context.Cause(ctx))
		case <-time.After(askAgain):
		}
	}
}

func (k *Kubelet) registerNode(ctx context.Context, node *corev1.Node) error {
	nodes := k.client.CoreV1().Nodes()
	status := node.Status
	created, err := nodes.Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		created, err = nodes.Get(ctx, node.Name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("registering node %s: %w", node.Name, err)
	}
	created.Status = status
	created.ResourceVersion = "" // the kubelet owns the status; the last word is its
	if _, err := nodes.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("making node %s ready: %w", node.Name, err)
	}
	return k.renew(ctx, created)
}

// renewLeases keeps the nodes alive in the eyes of the node controller.
func (k *Kubelet) renewLeases() {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-ticker.C:
		}
		for n := range k.topology.Nodes {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName(n)}}
			if err := k.renew(k.ctx, node); err != nil && k.ctx.Err() == nil {
				k.log.Warn("a node's lease was not renewed", "node", node.Name, "error", err)
			}
		}
	}
}

func (k *Kubelet) renew(ctx context.Context, node *corev1.Node) error {
	now, seconds := metav1.NowMicro(), int32(leaseSeconds)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: corev1.NamespaceNodeLease},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	// A patch of the one field: an update would need the version that is there.
	body := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, now.UTC().Format(metav1.RFC3339Micro))
	_, err := leases.Patch(ctx, node.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renewing the lease of node %s: %w", node.Name, err)
	}
	return nil
}

func newSink(client kubernetes.Interface) record.EventSink {
	return &typedv1.EventSinkImpl{Interface: client.CoreV1().Events("")}
}
