package cluster

import (
	"context"
	"slices"
	"strings"

	"gpumedic/incident"
)

// allocator is what makes a framework's allocator waste less.
type allocator struct {
	// names are the variables that may hold the setting; where none is set all
	// are, because which of them the program reads depends on its version.
	names []string
	// option is added to a list of options, or value replaces the whole.
	option, value string
	words         string
}

// allocators by framework. PyTorch: docs/source/notes/cuda.rst; options are
// "a:b,c:d", expandable segments since 2.1, PYTORCH_ALLOC_CONF since 2.9, before
// which only the longer name was read. JAX: gpu_memory_allocation.html.
// TensorFlow: the bfc allocator's own advice, cudaMallocAsync of CUDA 11.2.
var allocators = map[string]allocator{
	"pytorch":    {names: []string{"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}, option: "expandable_segments:True", words: "Let PyTorch's allocator grow its segments (expandable_segments:True)"},
	"jax":        {names: []string{"XLA_PYTHON_CLIENT_PREALLOCATE"}, value: "false", words: "Let JAX take GPU memory as it needs it (XLA_PYTHON_CLIENT_PREALLOCATE=false)"},
	"tensorflow": {names: []string{"TF_GPU_ALLOCATOR"}, value: "cuda_malloc_async", words: "Let TensorFlow use the driver's allocator (TF_GPU_ALLOCATOR=cuda_malloc_async)"},
}

// planAllocator plans to set the allocator of the containers with GPUs.
func (h *Hands) planAllocator(ctx context.Context, d *draft) error {
	how, known := allocators[orWord(d.params.Framework, "pytorch")]
	if !known {
		fault := incident.Faultf(incident.Unsupported, nil, "planning %s: the allocator of %q is not known", d.params.Remedy, d.params.Framework)
		fault.Next = "use pytorch, jax or tensorflow"
		return fault
	}
	var e edit
	for _, container := range d.gpuContainers() {
		d.setAllocator(&e, how, container)
	}
	return h.planTemplate(ctx, d, e, how.words)
}

// gpuContainers are the containers that get the change; none with a reason.
func (d *draft) gpuContainers() []fieldPath {
	found := gpuContainers(d.live.Object)
	trainer := fieldPath{key("spec"), key("trainer")}
	if d.live.GetKind() == "TrainJob" && trainer.fieldsAt(d.live.Object) != nil {
		found = []fieldPath{trainer} // told what to do here, its pods are in a TrainingRuntime
	}
	if len(found) == 0 {
		d.refuse("no container of %s requests GPUs: which one is meant cannot be told", d.workload.Target)
	}
	return found
}

func (d *draft) setAllocator(e *edit, how allocator, container fieldPath) {
	name := container[len(container)-1].key
	var held []string
	for _, variable := range how.names {
		path := container.below(key("env"), element("name", variable))
		entry := path.fieldsAt(d.live.Object)
		switch value, _ := entry["value"].(string); {
		case entry == nil:
		case entry["valueFrom"] != nil:
			d.refuse("container %s takes %s from elsewhere", name, variable)
			held = append(held, variable)
		default:
			held = append(held, variable)
			d.alterAllocator(e, how, path, value)
		}
	}
	if len(held) > 0 {
		return
	}
	for _, variable := range how.names {
		e.set(container.below(key("env"), element("name", variable)), map[string]any{"name": variable, "value": how.value + how.option})
	}
}

// alterAllocator changes a variable that is set.
func (d *draft) alterAllocator(e *edit, how allocator, path fieldPath, value string) {
	variable := path[len(path)-1].key
	wanted := how.value
	if how.option != "" {
		wanted = withOption(value, how.option)
	}
	switch {
	case strings.Contains(value, "cudaMallocAsync"):
		d.refuse("%s chooses the backend cudaMallocAsync, which has no expandable segments", variable)
	case wanted == value:
		d.refuse("%s is %s already", variable, value)
	default:
		e.set(path.below(key("value")), wanted)
	}
}

// withOption sets one option of a list. The two that the first versions with
// expandable segments cannot combine with them are dropped.
func withOption(list, option string) string {
	name, _, _ := strings.Cut(option, ":")
	if slices.Contains(strings.Split(list, ","), option) {
		return list
	}
	kept := []string{option}
	for _, entry := range strings.Split(list, ",") {
		other, _, _ := strings.Cut(strings.TrimSpace(entry), ":")
		if other != "" && other != name && other != "max_split_size_mb" && other != "garbage_collection_threshold" {
			kept = append(kept, strings.TrimSpace(entry))
		}
	}
	return strings.Join(kept, ",")
}
