package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// maxGaps bounds the list of gaps; further ones are counted.
const maxGaps = 30

// CollectEvidence keeps what may soon be gone: the logs of all ranks, current
// and previous, their events, the objects that decide about them, and what is
// behind their data. It only reads the cluster and may be repeated. What cannot be read is a gap; an
// error means that nothing could be kept.
func (h *Hands) CollectEvidence(ctx context.Context, params steps.CollectEvidenceParams) (steps.CollectEvidenceResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CollectEvidenceResult{}, err
	}
	c := &collection{hands: h, bounds: params.Logs, known: workload, gaps: map[string]*gap{}}
	c.keep(incident.IndexEntry{EvidenceRef: params.Workload, Kind: "workload", Rank: unknownIndex})
	now, found, err := h.reread(ctx, workload)
	if err != nil {
		c.gap("ranks", err, "the ranks as they are now")
		now = workload
	}
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(max(1, params.Logs.Parallel))
	c.logs(running, group, now, found)
	c.objects(running, group, now, found)
	c.data(running, group, now, found)
	group.Go(func() error { return c.events(running, now, found) })
	if err := group.Wait(); err != nil {
		return steps.CollectEvidenceResult{}, err
	}
	if ctx.Err() != nil {
		return steps.CollectEvidenceResult{}, classify(ctx.Err(), "collecting evidence of %s", workload.Target)
	}
	return c.index(ctx)
}

// reread finds the ranks as they are now. Where the target is gone, or was
// created anew, the workload stays as it was and owns nothing.
func (h *Hands) reread(ctx context.Context, workload incident.Workload) (incident.Workload, kin, error) {
	live, err := h.get(ctx, workload.Target)
	if err != nil {
		return workload, kin{}, err
	}
	if live == nil || string(live.GetUID()) != workload.UID {
		return workload, kin{}, nil
	}
	var r resolution
	found, err := h.descend(ctx, live, nil, &r)
	if err != nil {
		return workload, kin{}, err
	}
	now := incident.Workload{Target: workload.Target, UID: workload.UID, Labels: live.GetLabels(), Nodes: workload.Nodes}
	fillRanks(&now, live, found)
	return now, found, nil
}

// collection is the evidence of one incident while it is gathered.
type collection struct {
	hands  *Hands
	bounds incident.LogSettings
	known  incident.Workload

	mu      sync.Mutex
	entries []incident.IndexEntry
	gaps    map[string]*gap
}

// gap is something that could not be kept; alike ones are counted.
type gap struct {
	text  string
	count int
}

func (c *collection) keep(entry incident.IndexEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, entry)
}

// gap names what is missing. Gaps of one sort with one kind of reason are
// counted as one, so that a missing permission is told once for all pods.
func (c *collection) gap(sort string, reason error, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := sort
	text := fmt.Sprintf(format, args...)
	if reason != nil {
		key += "/" + string(incident.KindOf(reason))
		text += ": " + redact.String(reason.Error())
	}
	if known := c.gaps[key]; known != nil {
		known.count++
		known.text = min(known.text, text) // the same one whatever came first
		return
	}
	c.gaps[key] = &gap{text: text, count: 1}
}

// logs starts the reading of all logs.
func (c *collection) logs(ctx context.Context, group *errgroup.Group, now incident.Workload, found kin) {
	pods := map[string]corev1.Pod{}
	for _, pod := range found.pods {
		pods[pod.Name] = pod
	}
	for _, rank := range c.known.Ranks {
		if _, there := pods[rank.Pod]; !there && found.top != nil {
			c.gap("gone", nil, "log of pod %s: the pod is gone", rank.Pod)
		}
	}
	start := func(source logSource) {
		group.Go(func() error { return c.log(ctx, source) })
	}
	for i, rank := range slices.Concat(now.Ranks, now.Earlier) {
		pod, there := pods[rank.Pod]
		if !there { // not listed: the log may be there all the same
			start(logSource{rank: rank, container: rank.Container, replaced: i >= len(now.Ranks)})
			continue
		}
		sources, waiting := logSources(rank, pod, i >= len(now.Ranks))
		for _, text := range waiting {
			c.gap("waiting", nil, "%s", text)
		}
		for _, source := range sources {
			start(source)
		}
	}
}

// log keeps one log; the error is the store's.
func (c *collection) log(ctx context.Context, source logSource) error {
	entry, broken, err := c.hands.storeLog(ctx, c.known.Target.Namespace, source, c.bounds)
	if err != nil {
		return err
	}
	if broken != nil && ctx.Err() == nil {
		c.gap("log", broken, "%s", source)
	}
	if entry.Name != "" {
		c.keep(entry)
	}
	c.hands.progress(ctx, source.name())
	return nil
}

// objects starts the keeping of the objects that decide about the ranks.
func (c *collection) objects(ctx context.Context, group *errgroup.Group, now incident.Workload, found kin) {
	if found.top != nil {
		group.Go(func() error { return c.object(ctx, found.top.DeepCopy()) })
	}
	for i := range found.jobs {
		if found.top == nil || found.jobs[i].UID != found.top.GetUID() {
			group.Go(func() error { return c.typed(ctx, "batch/v1", "Job", &found.jobs[i]) })
		}
	}
	for i := range found.pods {
		group.Go(func() error { return c.typed(ctx, "v1", "Pod", &found.pods[i]) })
	}
	group.Go(func() error { return c.nodes(ctx, nodeNames(now)) })
	group.Go(func() error { return c.policies(ctx) })
}

func (c *collection) nodes(ctx context.Context, names []string) error {
	nodes, unread, err := c.hands.readNodes(ctx, names)
	if err != nil {
		c.gap("nodes", err, "%d nodes", len(names))
		return nil
	}
	for _, name := range names {
		if why := unread[name]; why != "" {
			c.gap("node", nil, "node %s: %s", name, redact.String(why))
			continue
		}
		node := nodes[name]
		node.Status.Images = nil // long, and says nothing here
		if err := c.typed(ctx, "v1", "Node", &node); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) policies(ctx context.Context) error {
	policies, err := c.hands.networkPolicies(ctx, c.known.Target.Namespace)
	if err != nil {
		c.gap("networkpolicies", err, "the NetworkPolicies")
		return nil
	}
	for i := range policies {
		if err := c.typed(ctx, "networking.k8s.io/v1", "NetworkPolicy", &policies[i]); err != nil {
			return err
		}
	}
	return nil
}

// typed keeps an object of a typed client, which leaves out what it is.
func (c *collection) typed(ctx context.Context, apiVersion, kind string, object runtime.Object) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding a %s", kind)
	}
	whole := &unstructured.Unstructured{Object: fields}
	whole.SetAPIVersion(apiVersion)
	whole.SetKind(kind)
	return c.object(ctx, whole)
}

// object keeps one object, redacted and without managedFields. It owns it.
func (c *collection) object(ctx context.Context, object *unstructured.Unstructured) error {
	object.SetManagedFields(nil)
	name := objectFile(object.GetKind(), object.GetName())
	data, err := json.Marshal(object.Object)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding %s", name)
	}
	ref, err := c.hands.putJSON(ctx, name, json.RawMessage(redact.JSON(data)))
	if err != nil {
		return err
	}
	c.keep(incident.IndexEntry{EvidenceRef: ref, Kind: "object", Rank: unknownIndex})
	c.hands.progress(ctx, name)
	return nil
}

// objectFile is an object's place in the bundle.
func objectFile(kind, name string) string {
	return fmt.Sprintf("objects/%s-%s.json", strings.ToLower(kind), name)
}

// index keeps the list of everything and ends the collection.
func (c *collection) index(ctx context.Context) (steps.CollectEvidenceResult, error) {
	slices.SortFunc(c.entries, func(a, b incident.IndexEntry) int { return strings.Compare(a.Name, b.Name) })
	ref, err := c.hands.putJSON(ctx, "index.json", c.entries)
	if err != nil {
		return steps.CollectEvidenceResult{}, err
	}
	result := steps.CollectEvidenceResult{Index: ref, Files: len(c.entries), Gaps: c.gapTexts()}
	for _, entry := range c.entries {
		result.Bytes += entry.Bytes
	}
	c.hands.Log.Info("evidence is kept", "target", c.known.Target, "files", result.Files, "bytes", result.Bytes, "gaps", len(result.Gaps))
	return result, nil
}

func (c *collection) gapTexts() []string {
	var texts []string
	for _, gap := range c.gaps {
		text := gap.text
		if gap.count > 1 {
			text += fmt.Sprintf(" (and %d more like it)", gap.count-1)
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	if extra := len(texts) - maxGaps; extra > 0 {
		texts = append(texts[:maxGaps], fmt.Sprintf("%d further gaps", extra))
	}
	return texts
}
