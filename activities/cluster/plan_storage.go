package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/steps"
)

// move is a claim that goes to a faster class, and what mounts it.
type move struct {
	claim *corev1.PersistentVolumeClaim
	// class is what it has, faster what it gets.
	class, faster *storagev1.StorageClass
	// volumes are those of the pod templates, by path.
	volumes []fieldPath
	// spec and container are those of a rank that reads from it.
	spec      corev1.PodSpec
	container corev1.Container
	bytes     int64
}

// planStorage plans a new claim of a faster class, a Job that copies the dataset to
// it while the ranks run, and the switch of the ranks to it. The old claim stays.
func (h *Hands) planStorage(ctx context.Context, d *draft) error {
	list, ok := d.declaredKnobs()
	if !ok {
		return nil
	}
	m, err := h.findMove(ctx, d, list)
	if m == nil || err != nil {
		return err
	}
	d.mayCopy(*m, list)
	claim, job := d.newClaim(*m), d.copyJob(*m)
	var e edit
	for _, volume := range m.volumes {
		e.set(volume.below(key("persistentVolumeClaim"), key("claimName")), claim.Name)
	}
	words := fmt.Sprintf("%s Copy claim %s to the new claim %s while the ranks run, and switch to it the pods", d.costWords(*m), m.claim.Name, claim.Name)
	if err := h.planTemplate(ctx, d, e, words); err != nil {
		return err
	}
	return h.prepareWith(ctx, d, claim, job)
}

// prepareWith adds objects that are made before the ranks are stopped. What the API
// server would refuse is a reason against the plan.
func (h *Hands) prepareWith(ctx context.Context, d *draft, objects ...prepared) error {
	var diffs strings.Builder
	for _, object := range objects {
		change, manifest, err := object.change(d.workload.Target.Namespace)
		if err != nil {
			return incident.Faultf(incident.Internal, err, "encoding what %s prepares", d.params.Remedy)
		}
		answer, err := h.dryMake(ctx, d, change, manifest)
		if err != nil {
			return err
		}
		diff, err := unifiedDiff(nameOf(change), nil, answer)
		if err != nil {
			return incident.Faultf(incident.Internal, err, "showing %s", nameOf(change))
		}
		diffs.WriteString(diff)
		d.plan.Prepare = append(d.plan.Prepare, change)
	}
	d.plan.Diff = diffs.String() + d.plan.Diff
	return nil
}

// dryMake asks the API server what it would make of a new object.
func (h *Hands) dryMake(ctx context.Context, d *draft, change incident.ObjectChange, manifest map[string]any) (map[string]any, error) {
	client, err := h.objectClient(change)
	if err != nil {
		return nil, err
	}
	answer, err := client.Create(ctx, &unstructured.Unstructured{Object: manifest}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
	switch {
	case err == nil:
		return answer.Object, nil
	case apierrors.IsAlreadyExists(err):
		d.refuse("%s exists already, left by an earlier change or made by somebody else", nameOf(change))
	case apierrors.IsForbidden(err):
		d.refuse("the API server would refuse %s: %s", nameOf(change), orWord(missingRule(err), err.Error()))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse %s: %v", nameOf(change), err)
	default:
		return nil, classify(err, "dry run of creating %s", nameOf(change))
	}
	return manifest, nil
}

// change is the object as a change, and as the map that is sent.
func (p prepared) change(namespace string) (incident.ObjectChange, map[string]any, error) {
	change := incident.ObjectChange{Verb: p.verb, APIVersion: p.version, Kind: p.kind, Namespace: namespace, Name: p.Name}
	manifest, err := plainManifest(p.object)
	if err != nil {
		return change, nil, err
	}
	change.Manifest, err = json.Marshal(manifest)
	return change, manifest, err
}

// mayCopy says what forbids to copy a claim while others use it.
func (d *draft) mayCopy(m move, list []incident.Knob) {
	name := m.claim.Name
	switch {
	case m.claim.Status.Phase != corev1.ClaimBound:
		d.refuse("claim %s is not bound", name)
	case slices.Contains(m.claim.Spec.AccessModes, corev1.ReadWriteOncePod):
		d.refuse("claim %s is for one pod alone (ReadWriteOncePod), so that no job can read it while the ranks run", name)
	case m.claim.Spec.VolumeMode != nil && *m.claim.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		d.refuse("claim %s is a block device without files", name)
	}
	mount, _ := mountOfVolume(m.container, m.volumes[0][len(m.volumes[0])-1].key)
	source := declaredCache(list, m.container.Name).Source
	if writable := d.writers(name); writable != "" && (source == "" || !under(source, mount.MountPath)) {
		d.refuse("%s may write to claim %s, so that a copy could miss what it writes: mount it read-only, or declare the dataset's directory as source with the knob %s", writable, name, incident.KnobCacheDir)
	}
}

// costWords tells first what the plan costs.
func (d *draft) costWords(m move) string {
	words := fmt.Sprintf("%d GiB of class %s cost %s", gibOf(m.bytes), m.faster.Name, d.priceOf(m.faster.Name, m.bytes))
	words += fmt.Sprintf(", beside %s for claim %s of class %s until a person deletes it.", d.priceOf(m.class.Name, m.bytes), m.claim.Name, m.class.Name)
	if policy := m.faster.ReclaimPolicy; policy != nil && *policy == corev1.PersistentVolumeReclaimRetain {
		words += fmt.Sprintf(" Class %s retains volumes: after an undo the new one stays, and is paid for, until a person deletes it.", m.faster.Name)
	}
	return words
}

func (d *draft) priceOf(class string, bytes int64) string {
	price, declared := d.params.Storage.Prices[class]
	if !declared {
		return "a price that is not declared (incident.storage.prices)"
	}
	return strings.TrimSpace(fmt.Sprintf("%.2f %s", price*float64(gibOf(bytes)), d.params.Storage.Currency)) + " a month"
}
