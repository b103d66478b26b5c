package cluster

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gpumedic/incident"
	"gpumedic/steps"
)

// edit is a wanted change of the target: fields and their values.
type edit struct {
	values fieldValues
	paths  []string
}

func (e *edit) set(path fieldPath, value any) {
	text := path.String()
	if _, twice := e.values[text]; !twice {
		e.paths = append(e.paths, text)
	}
	if e.values == nil {
		e.values = fieldValues{}
	}
	e.values[text] = value
}

// planTemplate fills the plan with a change of the target's pod template. The
// diff is what the API server says of it, also where the plan is refused.
func (h *Hands) planTemplate(ctx context.Context, d *draft, e edit, summary string) error {
	if len(e.paths) == 0 {
		return nil // the planner has said why
	}
	d.plan.Wanted = d.params.Wanted
	d.plan.Summary = fmt.Sprintf("%s of %s, %s.", summary, d.workload.Target, d.templatePrice())
	verb := d.templateVerb()
	if verb == verbReplace {
		h.claimsThatGo(ctx, d)
	}
	planned, err := merged(d.live.Object, e.values, e.paths)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "planning the change of %s", d.workload.Target)
	}
	answer, verb, err := h.dryTemplate(ctx, d, verb, e, planned)
	if err != nil {
		return err
	}
	if e.values, err = readFields(answer, e.paths); err != nil {
		return incident.Faultf(incident.Internal, err, "reading the dry run of %s", d.workload.Target)
	}
	change, err := applyOf(d.live, e.values, e.paths)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the change of %s", d.workload.Target)
	}
	change.Verb = orWord(verb, verbReplace)
	d.plan.Changes = []incident.ObjectChange{change}
	if planned, err = merged(d.live.Object, e.values, e.paths); err != nil {
		return incident.Faultf(incident.Internal, err, "planning the change of %s", d.workload.Target)
	}
	return d.show(&unstructured.Unstructured{Object: planned})
}

func (d *draft) templatePrice() string {
	if rolls[d.workload.Target.Kind] {
		return "which rolls its pods one after another" + d.rollWaits()
	}
	return d.priceWords()
}

// templateVerb is how the template is changed, and notes what forbids it.
func (d *draft) templateVerb() string {
	target := d.workload.Target
	verb, known := templateVerbs[target.Kind]
	if !known {
		d.refuse("how a %s takes a changed pod template is not known: make the change in its source", target.Kind)
	}
	if owner := metav1.GetControllerOf(d.live); owner != nil {
		d.refuse("%s belongs to %s %s, which makes it from a template of its own: make the change there", target, strings.ToLower(owner.Kind), owner.Name)
	}
	if rolls[target.Kind] { // the others were asked by startDraft
		for _, name := range managers(d.live) {
			d.refuse("%s is managed by %s, which would put back what is changed behind its back: make the change in its source", target, name)
		}
		for _, why := range rollBlockers(target, d.live) {
			d.refuse("%s", why)
		}
	}
	for _, name := range d.live.GetFinalizers() {
		if verb == verbReplace && !ownFinalizer(name) {
			d.refuse("%s has the finalizer %s of somebody else, who would take its replacement for its end", target, name)
		}
	}
	return verb
}

// dryTemplate asks the API server what the object would become, and says by which
// verb in the end. What it would refuse is a reason against the plan.
func (h *Hands) dryTemplate(ctx context.Context, d *draft, verb string, e edit, planned map[string]any) (map[string]any, string, error) {
	var answer *unstructured.Unstructured
	var err error
	switch verb {
	case verbReplace:
		answer, err = h.dryCopy(ctx, d, planned)
	case verbApply:
		answer, err = h.dryPatch(ctx, d, e)
		if tools := toolsInTheWay(err); tools != nil {
			d.plan.Summary = strings.TrimSuffix(d.plan.Summary, ".") + editWords(tools) + "."
			verb = verbEdit
			answer, err = h.dryEdit(ctx, d, planned)
		}
	default:
		return planned, verb, nil
	}
	if err == nil {
		return d.accepted(e, answer.Object), verb, nil
	}
	return planned, verb, d.refused(err)
}

// refused notes what the API server has against the change; an error is an API
// server that gave no answer.
func (d *draft) refused(err error) error {
	switch {
	case isFieldConflict(err):
		d.refuse("somebody else owns the field: %s", conflictWords(err))
	case apierrors.IsForbidden(err):
		d.refuse("the API server would refuse it: %s", orWord(missingRule(err), err.Error()))
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		d.refuse("the API server would refuse it: %v", err)
	default:
		return classify(err, "dry run of the change of %s", d.workload.Target)
	}
	return nil
}

// accepted is the API server's answer, if everything wanted is in it: an
// admission webhook may have taken something out again.
func (d *draft) accepted(e edit, answer map[string]any) map[string]any {
	for _, text := range e.paths {
		path, err := parseFieldPath(text)
		if err != nil {
			continue // it was written by us
		}
		if _, there := path.get(answer); !there {
			d.refuse("the API server, or an admission webhook, drops %s again", text)
		}
	}
	return answer
}

// dryCopy asks about a suspended copy with the change.
func (h *Hands) dryCopy(ctx context.Context, d *draft, planned map[string]any) (*unstructured.Unstructured, error) {
	client, how, err := h.targetClient(d.workload.Target)
	if err != nil {
		return nil, err
	}
	return client.Create(ctx, suspendedCopy(planned, how.field), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
}

// dryPatch asks about a server-side apply.
func (h *Hands) dryPatch(ctx context.Context, d *draft, e edit) (*unstructured.Unstructured, error) {
	change, err := applyOf(d.live, e.values, e.paths)
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the change of %s", d.workload.Target)
	}
	client, err := h.objectClient(change)
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, change.Name, types.ApplyPatchType, change.Manifest, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: steps.FieldManager})
}
