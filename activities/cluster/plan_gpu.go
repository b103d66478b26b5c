package cluster

import (
	"context"
	"encoding/json"
	"strings"

	"gpumedic/incident"
)

// planLargerGPU plans to send the ranks to nodes with a larger GPU product,
// which a check found free.
func (h *Hands) planLargerGPU(ctx context.Context, d *draft) error {
	product := ""
	for _, finding := range d.params.Findings {
		if finding.ID == incident.LargerGPUFree && finding.State == incident.Yes {
			product = finding.Value
		}
	}
	if product == "" {
		d.refuse("no check found nodes with a larger GPU that have room for every rank")
		return nil
	}
	var e edit
	for _, container := range d.gpuContainers() {
		spec := d.podSpecOf(container)
		if spec == nil {
			continue
		}
		selector := spec.below(key("nodeSelector"), key(gpuProduct))
		if selector.textAt(d.live.Object) == product {
			d.refuse("the ranks are sent to %s already", product)
			continue
		}
		if affinity, err := json.Marshal(spec.below(key("affinity")).fieldsAt(d.live.Object)); err == nil && strings.Contains(string(affinity), gpuProduct) {
			d.refuse("the affinity of the pods names %s too: the two would have to hold together", gpuProduct)
			continue
		}
		e.set(selector, product)
	}
	return h.planTemplate(ctx, d, e, "Send the ranks to nodes with "+product+", where there is room for all")
}
