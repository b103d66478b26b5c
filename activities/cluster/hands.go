package cluster

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// refreshPause is how long at least lies between two questions for the kinds
// that the API server serves.
const refreshPause = time.Minute

// Hands reads and changes one cluster. All fields but the last two are needed;
// New fills the ones that have a default. It may be used from several
// goroutines.
type Hands struct {
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface
	// Mapper knows which API serves a kind. It may refresh itself.
	Mapper meta.RESTMapper
	Store  incident.EvidenceStore
	// Signatures finds known lines in logs (D6).
	Signatures *diagnosis.Classifier
	// Cluster is the name under which targets know this cluster.
	Cluster string
	// Build is the worker's version.
	Build string
	Log   hclog.Logger
	Now   func() time.Time
	// Heartbeat tells that a long step is alive and how far it is; nil where
	// nobody listens.
	Heartbeat func(ctx context.Context, details ...any)
	// BudgetPatience is how long an eviction waits for a PodDisruptionBudget;
	// 0 = three minutes.
	BudgetPatience time.Duration

	refreshing  sync.Mutex
	refreshedAt time.Time
}

// New returns hands with the real clock and, when log is nil, a silent logger.
func New(kube kubernetes.Interface, objects dynamic.Interface, mapper meta.RESTMapper, store incident.EvidenceStore,
	signatures *diagnosis.Classifier, log hclog.Logger) *Hands {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Hands{
		Kube: kube, Dynamic: objects, Mapper: mapper, Store: store, Signatures: signatures,
		Log: log.Named("cluster"), Now: time.Now,
	}
}

// mapping finds the API of a kind. A kind that is not known may have been
// installed since the mapper asked, so it asks again, once in a while.
func (h *Hands) mapping(find func() (*meta.RESTMapping, error)) (*meta.RESTMapping, error) {
	found, err := find()
	if !meta.IsNoMatchError(err) || !h.refresh() {
		return found, err
	}
	return find()
}

// refresh makes the mapper ask anew, false when it did so a short while ago.
func (h *Hands) refresh() bool {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	now := h.Now()
	if now.Sub(h.refreshedAt) < refreshPause {
		return false
	}
	h.refreshedAt = now
	meta.MaybeResetRESTMapper(h.Mapper)
	return true
}

// progress tells how far a long step is.
func (h *Hands) progress(ctx context.Context, details ...any) {
	if h.Heartbeat != nil {
		h.Heartbeat(ctx, details...)
	}
}

// putJSON keeps a value as indented JSON. Callers redact it first.
func (h *Hands) putJSON(ctx context.Context, name string, value any) (incident.EvidenceRef, error) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return incident.EvidenceRef{}, incident.Faultf(incident.Internal, err, "encoding %s", name)
	}
	return incident.KeepJSON(ctx, h.Store, name, data)
}

// loadWorkload reads the workload that ResolveTarget kept.
func (h *Hands) loadWorkload(ctx context.Context, ref incident.EvidenceRef) (incident.Workload, error) {
	var workload incident.Workload
	err := incident.ReadJSON(ctx, h.Store, ref, incident.MaxReadBack, &workload)
	return workload, err
}
