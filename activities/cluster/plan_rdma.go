package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
)

// planRDMA plans to give the container with the GPUs the RDMA device that its
// nodes offer. Only a batch/v1 Job can be changed in place, and only while it
// is suspended; for other kinds the plan is a diff to read.
func (h *Hands) planRDMA(ctx context.Context, d *draft) error {
	resource := d.rdmaResource()
	if have := requestedRDMA(d.live.Object, d.params.Fabric.RDMAResources); len(have) > 0 {
		d.refuse("the pod template requests %s already", strings.Join(have, ", "))
	}
	containers := gpuContainers(d.live.Object)
	if len(containers) != 1 {
		d.refuse("%d containers of %s request GPUs; which of them needs RDMA cannot be told", len(containers), d.workload.Target)
	}
	if resource == "" || len(containers) == 0 {
		return nil
	}
	var paths []string
	for _, container := range containers {
		for _, kind := range []string{"limits", "requests"} {
			paths = append(paths, append(slices.Clone(container), fieldStep{key: "resources"}, fieldStep{key: kind}, fieldStep{key: resource}).String())
		}
	}
	amount := rdmaAmount(resource, d.workload)
	wanted := fieldValues{}
	for _, path := range paths {
		wanted[path] = amount
	}
	d.plan.Summary = fmt.Sprintf("Give the ranks of %s %s of %s again, which all of their nodes offer, %s.", d.workload.Target, amount, resource, d.priceWords())
	d.plan.Wanted = incident.Wanted{Transport: wantedTransport([]string{resource}, d.workload.Nodes), CommTest: true}
	return h.dryApply(ctx, d, wanted, paths)
}

// rdmaResource is the one configured device resource that all nodes of the
// ranks offer; "" with a reason when there is none or a choice.
func (d *draft) rdmaResource() string {
	count := map[string]int{}
	for _, node := range d.workload.Nodes {
		for name, amount := range node.RDMA {
			if amount > 0 && isRDMA(name, d.params.Fabric.RDMAResources) {
				count[name]++
			}
		}
	}
	var everywhere, somewhere []string
	for name, nodes := range count {
		if nodes == len(d.workload.Nodes) {
			everywhere = append(everywhere, name)
		} else {
			somewhere = append(somewhere, fmt.Sprintf("%s on %d of %d nodes", name, nodes, len(d.workload.Nodes)))
		}
	}
	sort.Strings(everywhere)
	sort.Strings(somewhere)
	switch {
	case len(everywhere) == 1:
		return everywhere[0]
	case len(everywhere) > 1:
		d.refuse("the nodes offer several RDMA resources, %s: configure which one is meant in fabric.rdma_resources", strings.Join(everywhere, ", "))
	case len(somewhere) > 0:
		d.refuse("no RDMA resource is offered by all nodes of the ranks, only %s", strings.Join(somewhere, ", "))
	default:
		d.refuse("the nodes of the ranks offer no RDMA resource (looked for %s)", strings.Join(d.params.Fabric.RDMAResources, ", "))
	}
	return ""
}

// isRDMA matches a resource with configured names and "prefix/"es.
func isRDMA(name string, configured []string) bool {
	return slices.ContainsFunc(configured, func(known string) bool {
		return name == known || strings.HasSuffix(known, "/") && strings.HasPrefix(name, known)
	})
}

// rdmaAmount is 1 of a shared device, under which a pod sees all of a node's
// HCAs, and else the share of the node's devices that goes with its GPUs.
func rdmaAmount(resource string, workload incident.Workload) string {
	share := 0
	for _, node := range workload.Nodes {
		for _, rank := range workload.Ranks {
			if rank.Node != node.Name || node.GPUs == 0 {
				continue
			}
			if part := node.RDMA[resource] * rank.GPUs / node.GPUs; share == 0 || part < share {
				share = part
			}
		}
	}
	if strings.HasPrefix(resource, "rdma/") {
		share = 1
	}
	return fmt.Sprint(max(1, share))
}

// walkContainers calls visit for each container of every pod template in an
// object, whatever its kind, in a fixed order.
func walkContainers(object map[string]any, visit func(path fieldPath, container map[string]any)) {
	var walk func(path fieldPath, value any)
	walk = func(path fieldPath, value any) {
		switch typed := value.(type) {
		case map[string]any:
			for _, key := range sortedKeys(typed) {
				walk(append(slices.Clone(path), fieldStep{key: key}), typed[key])
			}
		case []any:
			for _, element := range typed {
				fields, _ := element.(map[string]any)
				where := "name"
				if _, named := fields[where]; !named {
					where = "groupName" // worker groups of Ray
				}
				name, named := fields[where].(string)
				if !named {
					continue
				}
				at := append(slices.Clone(path), fieldStep{key: name, where: where})
				if path[len(path)-1].key == "containers" {
					visit(at, fields)
					continue
				}
				walk(at, element)
			}
		}
	}
	walk(fieldPath{{key: "spec"}}, object["spec"])
}

func sortedKeys(fields map[string]any) []string {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// limitsOf are a container's limits and requests together, by resource.
func limitsOf(container map[string]any) map[string]string {
	out := stringMap(container, "resources", "requests")
	for name, amount := range stringMap(container, "resources", "limits") {
		out[name] = amount
	}
	return out
}

func gpuContainers(object map[string]any) []fieldPath {
	var found []fieldPath
	walkContainers(object, func(path fieldPath, container map[string]any) {
		for name := range limitsOf(container) {
			if strings.HasSuffix(name, "/gpu") {
				found = append(found, path)
				return
			}
		}
	})
	return found
}

// requestedRDMA names the RDMA resources that the pod templates ask for.
func requestedRDMA(object map[string]any, configured []string) []string {
	var found []string
	walkContainers(object, func(_ fieldPath, container map[string]any) {
		for name, amount := range limitsOf(container) {
			if isRDMA(name, configured) && amount != "0" {
				found = append(found, name)
			}
		}
	})
	return union(found, nil)
}

// dryApply fills the plan with a server-side apply of fields of the target.
func (h *Hands) dryApply(ctx context.Context, d *draft, wanted fieldValues, paths []string) error {
	planned, err := merged(d.live.Object, wanted, paths)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "planning the change of %s", d.workload.Target)
	}
	if d.workload.Target.Kind != "Job" {
		d.refuse("the pod template of a %s cannot be changed in place: make the change in its source and create it anew", d.workload.Target.Kind)
	} else if planned, err = h.dryRunJob(ctx, d, wanted, paths, planned); err != nil {
		return err
	}
	name := strings.ToLower(d.workload.Target.Kind) + " " + d.workload.Target.Namespace + "/" + d.workload.Target.Name
	if d.plan.Diff, err = unifiedDiff(name, d.live.Object, planned); err != nil {
		return incident.Faultf(incident.Internal, err, "showing the change of %s", d.workload.Target)
	}
	change, err := applyOf(d.live, wanted, paths)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the change of %s", d.workload.Target)
	}
	d.plan.Changes = []incident.ObjectChange{change}
	return nil
}

// applyOf is the change that sets only the given fields.
func applyOf(live *unstructured.Unstructured, wanted fieldValues, paths []string) (incident.ObjectChange, error) {
	change := incident.ObjectChange{Verb: verbApply, APIVersion: live.GetAPIVersion(), Kind: live.GetKind(), Namespace: live.GetNamespace(),
		Name: live.GetName(), UID: string(live.GetUID()), ResourceVersion: live.GetResourceVersion(), Fields: paths}
	before, err := readFields(live.Object, paths)
	if err != nil {
		return change, err
	}
	if change.Before, err = json.Marshal(before); err != nil {
		return change, err
	}
	manifest := identity(change)
	for _, text := range paths {
		path, err := parseFieldPath(text)
		if err != nil {
			return change, err
		}
		makeElements(manifest, path)
		if err := path.set(manifest, wanted[text]); err != nil {
			return change, err
		}
	}
	change.Manifest, err = json.Marshal(manifest)
	return change, err
}

// identity is the manifest that names an object and sets nothing.
func identity(change incident.ObjectChange) map[string]any {
	metadata := map[string]any{"name": change.Name}
	if change.Namespace != "" {
		metadata["namespace"] = change.Namespace
	}
	return map[string]any{"apiVersion": change.APIVersion, "kind": change.Kind, "metadata": metadata}
}

// makeElements makes the list elements on a path, by their key alone, so that
// server-side apply merges them with those that are there.
func makeElements(object map[string]any, path fieldPath) {
	for i := 1; i < len(path); i++ {
		if path[i].where == "" {
			continue
		}
		list, _ := path[:i].get(object)
		elements, _ := list.([]any)
		if _, there := path[i].in(elements); !there {
			element := map[string]any{path[i].where: path[i].key}
			_ = path[:i].set(object, append(elements, element)) // the way to it was made just now
		}
	}
}
