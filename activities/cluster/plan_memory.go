package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"gpumedic/incident"
)

const gibi = 1 << 30

// planMemory plans half as much memory again for the containers with GPUs,
// rounded up to whole GiB.
func (h *Hands) planMemory(ctx context.Context, d *draft) error {
	var e edit
	for _, container := range d.gpuContainers() {
		limit, has := d.memoryLimit(container)
		if !has {
			d.refuse("container %s has no memory limit, so it is not its limit that it died of", container[len(container)-1].key)
			continue
		}
		more := (limit + limit/2 + gibi - 1) / gibi * gibi
		if err := h.setMemory(ctx, d, &e, container, limit, more); err != nil {
			return err
		}
	}
	return h.planTemplate(ctx, d, e, "Raise the memory limit by half")
}

// memoryLimit is a container's limit in bytes, false when it has none.
func (d *draft) memoryLimit(container fieldPath) (int64, bool) {
	value := container.below(key("resources"), key("limits"), key("memory")).textAt(d.live.Object)
	quantity, err := resource.ParseQuantity(value)
	if value == "" || err != nil {
		return 0, false
	}
	return quantity.Value(), true
}

// setMemory changes the limit, and a request that was as large: a pod that was
// Guaranteed stays so. A node of the ranks that has less is a reason against it.
func (h *Hands) setMemory(ctx context.Context, d *draft, e *edit, container fieldPath, limit, more int64) error {
	text := resource.NewQuantity(more, resource.BinarySI).String()
	resources := container.below(key("resources"))
	e.set(resources.below(key("limits"), key("memory")), text)
	request := resources.below(key("requests"), key("memory"))
	if have, err := resource.ParseQuantity(request.textAt(d.live.Object)); err == nil && have.Value() == limit {
		e.set(request, text)
	}
	names := nodeNames(incident.Workload{Ranks: d.workload.Ranks})
	nodes, err := h.readOnce(ctx, d, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		memory, known := nodes[name].Status.Allocatable[corev1.ResourceMemory]
		if known && memory.Value() < more {
			d.refuse("node %s has %s of memory for pods, less than the %s that a rank would get", name, memory.String(), text)
		}
	}
	return nil
}

// readOnce reads the nodes of the ranks once for all containers of a plan.
func (h *Hands) readOnce(ctx context.Context, d *draft, names []string) (map[string]corev1.Node, error) {
	if d.nodes != nil {
		return d.nodes, nil
	}
	nodes, _, err := h.readNodes(ctx, names)
	d.nodes = nodes
	return nodes, err
}

// shmVolumeName is the name of the volume that is added for /dev/shm.
const shmVolumeName = "gpumedic-shm"

// planShm plans a larger /dev/shm. A memory volume counts as memory of the
// container, so the limit grows with it.
func (h *Hands) planShm(ctx context.Context, d *draft) error {
	var e edit
	words := ""
	for _, container := range d.gpuContainers() {
		grown, size := d.shm(&e, container)
		if grown == 0 {
			continue
		}
		words = fmt.Sprintf("Make /dev/shm %s large", size)
		if limit, has := d.memoryLimit(container); has {
			if err := h.setMemory(ctx, d, &e, container, limit, limit+grown); err != nil {
				return err
			}
			words += ", with as much more memory"
		}
	}
	return h.planTemplate(ctx, d, e, words)
}

// shm adds or doubles the volume, and says by how many bytes it grows and how
// large it is then; 0 with a reason when it does not.
func (d *draft) shm(e *edit, container fieldPath) (int64, string) {
	mount := container.below(key("volumeMounts"), element("mountPath", shmPath))
	spec := d.podSpecOf(container)
	if spec == nil {
		return 0, ""
	}
	volumes := spec.below(key("volumes"))
	if mount.fieldsAt(d.live.Object) == nil {
		size := d.firstShm(container)
		text := resource.NewQuantity(size, resource.BinarySI).String()
		e.set(volumes.below(element("name", shmVolumeName)), map[string]any{"name": shmVolumeName, "emptyDir": map[string]any{"medium": "Memory", "sizeLimit": text}})
		e.set(mount, map[string]any{"name": shmVolumeName, "mountPath": shmPath})
		return size, text
	}
	name := mount.below(key("name")).textAt(d.live.Object)
	directory := volumes.below(element("name", name), key("emptyDir"))
	limit, err := resource.ParseQuantity(directory.below(key("sizeLimit")).textAt(d.live.Object))
	if directory.below(key("medium")).textAt(d.live.Object) != "Memory" || err != nil {
		d.refuse("/dev/shm of container %s is the volume %s, which is no memory volume with a size of its own", container[len(container)-1].key, name)
		return 0, ""
	}
	text := resource.NewQuantity(2*limit.Value(), resource.BinarySI).String()
	e.set(directory.below(key("sizeLimit")), text)
	return limit.Value(), text
}

// firstShm is the size where there was none but the runtime's 64 MiB: a quarter
// of the memory limit, at least 1 GiB; 8 GiB where there is no limit.
func (d *draft) firstShm(container fieldPath) int64 {
	limit, has := d.memoryLimit(container)
	if !has {
		return 8 * gibi
	}
	return max(gibi, limit/4/gibi*gibi)
}
