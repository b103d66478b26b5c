package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"gpumedic/incident"
)

// findMove looks for the one claim with the dataset that a faster class could hold;
// nil, with a reason, when there is none or more than one.
func (h *Hands) findMove(ctx context.Context, d *draft, list []incident.Knob) (*move, error) {
	s := scene{hands: h, now: d.workload, pods: templatePods(d.live.Object), at: h.Now()}
	shelf, err := s.readShelf(ctx)
	if err != nil {
		return nil, err
	}
	if shelf.blind != "" {
		d.refuse("which classes could be faster is not known: %s", shelf.blind)
		return nil, nil
	}
	var moves []move
	var why []string
	for _, container := range d.gpuContainers() {
		for _, name := range d.dataClaims(container, list) {
			if slices.ContainsFunc(moves, func(m move) bool { return m.claim.Name == name }) {
				continue
			}
			m, not := d.moveOf(shelf, s, container, name)
			if not != "" {
				why = append(why, not)
				continue
			}
			moves = append(moves, m)
		}
	}
	return d.oneOf(moves, why), nil
}

// oneOf chooses: a claim whose class is known to be slow comes before the others.
func (d *draft) oneOf(moves []move, why []string) *move {
	if slow := slices.DeleteFunc(slices.Clone(moves), func(m move) bool { return !speedOf(*m.class).slow }); len(slow) > 0 {
		moves = slow
	}
	var names []string
	for _, m := range moves {
		names = append(names, m.claim.Name)
	}
	switch {
	case len(moves) == 1:
		return &moves[0]
	case len(moves) > 1:
		d.refuse("which of the claims %s holds the dataset cannot be told: declare its directory as source with the knob %s", strings.Join(names, ", "), incident.KnobCacheDir)
	case len(why) > 0:
		d.refuse("%s", incident.Some(why))
	case d.claimTemplates():
		d.refuse("the ranks of %s have claims made from volumeClaimTemplates, which cannot be changed: make a new StatefulSet", d.workload.Target)
	default:
		d.refuse("the ranks of %s read from no claim of their pod template", d.workload.Target)
	}
	return nil
}

// dataClaims are the claims that a container mounts; only the one of the declared
// dataset, where there is one.
func (d *draft) dataClaims(container fieldPath, list []incident.Knob) []string {
	at := d.podSpecOf(container)
	if at == nil {
		return nil
	}
	spec, ok := d.podSpecAt(at)
	if !ok {
		return nil
	}
	name := container[len(container)-1].key
	main := *containerNamed(corev1.Pod{Spec: spec}, name)
	mounts := mountsOf(&main)
	if source := declaredCache(list, name).Source; source != "" {
		mounts = nil
		if mount, found := mountOf(main, source); found {
			mounts = []corev1.VolumeMount{mount}
		}
	}
	var names []string
	for _, mount := range mounts {
		if claim := volumeOf(spec, mount.Name).PersistentVolumeClaim; claim != nil && !slices.Contains(names, claim.ClaimName) {
			names = append(names, claim.ClaimName)
		}
	}
	return names
}

// moveOf is how a claim could move, or why it cannot.
func (d *draft) moveOf(shelf shelf, s scene, container fieldPath, name string) (m move, not string) {
	m.claim = shelf.claims[name]
	if m.claim == nil {
		return m, fmt.Sprintf("claim %s does not exist", name)
	}
	m.class = shelf.classOf(m.claim)
	if m.class == nil {
		return m, fmt.Sprintf("how fast claim %s is cannot be told: %s", name, shelf.classless(name, m.claim))
	}
	faster := shelf.faster(m.claim, m.class)
	if speedOf(*m.class).fast || len(faster) == 0 {
		return m, fmt.Sprintf("claim %s is of class %s, and the cluster has no faster class that could serve it", name, m.class.Name)
	}
	m.faster = shelf.named(faster[0])
	m.bytes = capacityOf(m.claim)
	m.volumes = d.volumesOf(name)
	m.spec, _ = d.podSpecAt(d.podSpecOf(container))
	m.container = *containerNamed(corev1.Pod{Spec: m.spec}, container[len(container)-1].key)
	return m, ""
}

func (f shelf) named(class string) *storagev1.StorageClass {
	at := slices.IndexFunc(f.classes, func(c storagev1.StorageClass) bool { return c.Name == class })
	return &f.classes[at] // it is one of them
}

// eachSpec visits every pod spec of the target once.
func (d *draft) eachSpec(visit func(at fieldPath, spec corev1.PodSpec)) {
	var seen []string
	walkContainers(d.live.Object, func(path fieldPath, _ map[string]any) {
		at := path[:len(path)-2]
		if text := at.String(); !slices.Contains(seen, text) {
			seen = append(seen, text)
			if spec, ok := d.podSpecAt(at); ok {
				visit(slices.Clone(at), spec)
			}
		}
	})
}

// volumesOf are the volumes of all pod specs that are a claim.
func (d *draft) volumesOf(claim string) []fieldPath {
	var found []fieldPath
	d.eachSpec(func(at fieldPath, spec corev1.PodSpec) {
		for _, volume := range spec.Volumes {
			if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim {
				found = append(found, at.below(key("volumes"), element("name", volume.Name)))
			}
		}
	})
	return found
}

// writers names a container that may write to a claim, "" when none may.
func (d *draft) writers(claim string) (who string) {
	d.eachSpec(func(_ fieldPath, spec corev1.PodSpec) {
		for _, volume := range spec.Volumes {
			if of := volume.PersistentVolumeClaim; of == nil || of.ClaimName != claim || of.ReadOnly {
				continue
			}
			for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
				if mount, found := mountOfVolume(container, volume.Name); found && !mount.ReadOnly {
					who = "container " + container.Name
				}
			}
		}
	})
	return who
}

// mountOfVolume is how a container mounts a volume, preferring a mount that writes.
func mountOfVolume(container corev1.Container, volume string) (found corev1.VolumeMount, ok bool) {
	for _, mount := range container.VolumeMounts {
		if mount.Name == volume && (!ok || found.ReadOnly) {
			found, ok = mount, true
		}
	}
	return found, ok
}

// claimTemplates says whether the pods have claims of their own.
func (d *draft) claimTemplates() bool {
	spec, _ := d.live.Object["spec"].(map[string]any)
	list, _ := spec["volumeClaimTemplates"].([]any)
	return len(list) > 0
}
