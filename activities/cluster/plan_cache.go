package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/knobs"
	"gpumedic/steps"
)

const (
	// cacheVolumeName is the name of the volume that is added for the cache.
	cacheVolumeName = "gpumedic-cache"
	// newCacheDir is where the cache is when the declared variable names no place.
	newCacheDir = "/var/cache/gpumedic/dataset"
)

// caching is how the dataset of one container gets to a local copy.
type caching struct {
	path      fieldPath // of the container
	spec      corev1.PodSpec
	container corev1.Container
	knob      incident.Knob
	scene     scene
	env       environment
	// dir is the cache; variable has to be set to it, "" where that is so already.
	dir, variable string
	// from is the dataset's directory on the volume mounted by source.
	from   string
	source corev1.VolumeMount
	// volume is the emptyDir that holds dir; "" = it is to be added.
	volume string
	bytes  int64
}

// planCache plans an init container that fills a local cache with a copy of the
// dataset before each rank starts.
func (h *Hands) planCache(ctx context.Context, d *draft) error {
	var e edit
	words, most := "", int64(0)
	list, ok := d.declaredKnobs()
	if !ok {
		return nil
	}
	for _, container := range d.gpuContainers() {
		c, ok := h.caching(ctx, d, list, container)
		if !ok {
			continue
		}
		if err := c.write(d, &e); err != nil {
			return err
		}
		most = max(most, d.ephemeral(&e, c))
		words = fmt.Sprintf("Copy %s to %s, a local directory of %d GiB, before each rank starts, in the pods", c.from, c.dir, gibOf(c.bytes))
	}
	if err := h.roomForCaches(ctx, d, most); err != nil {
		return err
	}
	return h.planTemplate(ctx, d, e, words)
}

// declaredKnobs are those of the target; false, with a reason, when they are wrong.
func (d *draft) declaredKnobs() ([]incident.Knob, bool) {
	text, declared := d.live.GetAnnotations()[incident.KnobAnnotation]
	if !declared {
		return nil, true
	}
	list, err := knobs.Parse(text)
	if err != nil {
		d.refuse("the annotation %s of %s is wrong: %v", incident.KnobAnnotation, d.workload.Target, err)
	}
	return list, err == nil
}

// caching finds out all that must be known; false, with a reason, when it cannot be.
func (h *Hands) caching(ctx context.Context, d *draft, list []incident.Knob, container fieldPath) (caching, bool) {
	c := caching{path: container, scene: scene{hands: h, now: d.workload, at: h.Now()}}
	at := d.podSpecOf(container)
	if at == nil {
		return c, false
	}
	var ok bool
	if c.spec, ok = d.podSpecAt(at); !ok {
		return c, false
	}
	name := container[len(container)-1].key
	c.container = *containerNamed(c.pod(), name)
	c.knob = declaredCache(list, name)
	c.env = h.newEnvReader(d.workload.Target.Namespace).read(ctx, incident.Rank{Container: name}, c.pod())
	for _, find := range []func(context.Context, *draft) string{c.findDir, c.findPlace, c.findSource, c.findSize} {
		if why := find(ctx, d); why != "" {
			d.refuse("%s", why)
			return c, false
		}
	}
	return c, true
}

func (c *caching) pod() corev1.Pod { return corev1.Pod{Spec: c.spec} }

// write sets the fields: the volume, its mounts, the variable and the init container.
func (c *caching) write(d *draft, e *edit) error {
	spec := d.podSpecOf(c.path)
	size := *resource.NewQuantity(gibOf(c.bytes)*gibi, resource.BinarySI)
	cache, found := mountOf(c.container, c.dir)
	directory := spec.below(key("volumes"), element("name", orWord(c.volume, cacheVolumeName)))
	if c.volume == "" || !found {
		cache = corev1.VolumeMount{Name: cacheVolumeName, MountPath: c.dir}
		e.set(directory, map[string]any{"name": cacheVolumeName, "emptyDir": map[string]any{"sizeLimit": size.String()}})
		e.set(c.path.below(key("volumeMounts"), element("mountPath", c.dir)), map[string]any{"name": cacheVolumeName, "mountPath": c.dir})
	} else if limit := volumeOf(c.spec, c.volume).EmptyDir.SizeLimit; limit != nil && limit.Cmp(size) < 0 {
		e.set(directory.below(key("emptyDir"), key("sizeLimit")), size.String())
	}
	if c.variable != "" {
		e.set(c.path.below(key("env"), element("name", c.variable)), map[string]any{"name": c.variable, "value": c.dir})
	}
	source := c.source
	source.ReadOnly, cache.ReadOnly = true, false
	init := d.copyContainer(steps.CacheContainer, c.container, c.from, c.dir, source, cache)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&init)
	if err != nil {
		return incident.Faultf(incident.Internal, err, "encoding the init container of %s", d.workload.Target)
	}
	e.set(spec.below(key("initContainers"), element("name", steps.CacheContainer)), fields)
	return nil
}

// ephemeral counts the copy into the storage that a rank requests, and says how much
// that is: emptyDirs count against the whole pod (Kubernetes v1.37, eviction manager).
func (d *draft) ephemeral(e *edit, c caching) int64 {
	resources := c.path.below(key("resources"))
	more := gibOf(c.bytes) * gibi
	have := c.container.Resources.Requests[corev1.ResourceEphemeralStorage]
	if limit, limited := c.container.Resources.Limits[corev1.ResourceEphemeralStorage]; limited {
		e.set(resources.below(key("limits"), key("ephemeral-storage")), resource.NewQuantity(limit.Value()+more, resource.BinarySI).String())
		if have.IsZero() {
			have = limit // the API server's default
		}
	}
	e.set(resources.below(key("requests"), key("ephemeral-storage")), resource.NewQuantity(have.Value()+more, resource.BinarySI).String())
	return have.Value() + more
}

// roomForCaches is against nodes of the ranks that have less ephemeral storage than
// the ranks on them would request.
func (h *Hands) roomForCaches(ctx context.Context, d *draft, each int64) error {
	if each == 0 {
		return nil
	}
	names := nodeNames(incident.Workload{Ranks: d.workload.Ranks})
	nodes, err := h.readOnce(ctx, d, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		ranks := int64(0)
		for _, rank := range d.workload.Ranks {
			if rank.Node == name {
				ranks++
			}
		}
		room := nodes[name].Status.Allocatable[corev1.ResourceEphemeralStorage]
		if room.Value() < ranks*each {
			d.refuse("node %s has %d GiB of ephemeral storage for pods, less than the %d GiB that its %d ranks would request: declare size with the knob %s if the dataset is smaller than its volume", name, gibOf(room.Value()), gibOf(ranks*each), ranks, incident.KnobCacheDir)
		}
	}
	return nil
}
