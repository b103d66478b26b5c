package cluster

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
)

// copyCaches are variables of scripts that look for a copy of their dataset. Those
// of libraries are none: what they keep there has a layout of its own (docs of
// datasets, huggingface_hub, tensorflow-datasets and torch.hub).
var copyCaches = []string{"DATA_CACHE_DIR", "CACHE_DIR"}

// dataVariables name the directory of a dataset, the first that is set counts.
var dataVariables = []string{"DATA_DIR", "DATASET_DIR", "DATASET_PATH"}

// findDir asks where the program looks for a copy.
func (c *caching) findDir(context.Context, *draft) string {
	var declared []incident.Knob
	if c.knob.Role != "" {
		declared = append(declared, c.knob)
	}
	value, from := cacheDir(declared, &c.container, c.env)
	known := c.knob.Role != "" && from == "knob "+orWord(c.knob.Env, c.knob.Arg)
	switch {
	case value.unknown != "":
		return fmt.Sprintf("where container %s looks for a cache is not known: %s is %s", c.container.Name, from, value.unknown)
	case !known && c.knob.Env != "":
		c.dir, c.variable = newCacheDir, c.knob.Env
	case !known && c.knob.Arg != "":
		return fmt.Sprintf("the knob %s is the argument %s, and container %s has none with a value", c.knob.Role, c.knob.Arg, c.container.Name)
	case from == "":
		return fmt.Sprintf("where container %s would look for a local copy of its dataset is not declared: declare a knob of the role %s in the annotation %s", c.container.Name, incident.KnobCacheDir, incident.KnobAnnotation)
	case !known && !slices.Contains(copyCaches, from):
		return fmt.Sprintf("%s is a directory of a library's own layout, which a copy of files does not warm: declare a knob of the role %s where the program looks for a copy", from, incident.KnobCacheDir)
	default:
		c.dir = value.value
	}
	return ""
}

// findPlace asks whether the directory is a local and empty one.
func (c *caching) findPlace(ctx context.Context, _ *draft) string {
	where := c.scene.lies(ctx, c.pod(), &c.container, c.dir)
	if where.local != incident.Yes || !where.empty {
		return fmt.Sprintf("%s is no place for a local copy: it %s", c.dir, where.words)
	}
	c.volume = where.volume
	if directory := volumeOf(c.spec, c.volume).EmptyDir; directory != nil && directory.Medium == corev1.StorageMediumMemory {
		return fmt.Sprintf("%s is in memory, which a dataset would use up", c.dir)
	}
	for _, init := range c.spec.InitContainers {
		if c.volume != "" && slices.ContainsFunc(init.VolumeMounts, func(mount corev1.VolumeMount) bool { return mount.Name == c.volume }) {
			return fmt.Sprintf("init container %s fills %s already", init.Name, c.dir)
		}
	}
	return ""
}

// findSource asks which directory of which volume is the dataset.
func (c *caching) findSource(ctx context.Context, d *draft) string {
	var remote []corev1.VolumeMount
	for _, mount := range mountsOf(&c.container) {
		if where := c.scene.lies(ctx, c.pod(), &c.container, mount.MountPath); where.local == incident.No {
			remote = append(remote, mount)
		}
	}
	switch {
	case c.knob.Source != "":
		var found bool
		if c.source, found = mountOf(c.container, c.knob.Source); !found {
			return fmt.Sprintf("the declared source %s is on no volume of container %s", c.knob.Source, c.container.Name)
		}
		c.from = c.knob.Source
	case len(remote) != 1:
		return fmt.Sprintf("container %s mounts %d volumes over the network, so that which of them holds the dataset cannot be told: declare source with the knob %s", c.container.Name, len(remote), incident.KnobCacheDir)
	default:
		c.source = remote[0]
		c.from = c.dataOn(remote[0])
	}
	if under(c.dir, c.from) || under(c.from, c.dir) || c.source.SubPathExpr != "" {
		return fmt.Sprintf("the cache %s and the dataset %s cannot be told apart", c.dir, c.from)
	}
	return ""
}

// dataOn is the directory of the dataset on a volume.
func (c *caching) dataOn(mount corev1.VolumeMount) string {
	for _, name := range dataVariables {
		if value, set := c.env.vars[name]; set && value.unknown == "" && under(value.value, mount.MountPath) {
			return value.value
		}
	}
	return mount.MountPath
}

// findSize asks how large the copy gets: what is declared, or what the claim can hold.
func (c *caching) findSize(ctx context.Context, d *draft) string {
	if size, err := resource.ParseQuantity(c.knob.Size); c.knob.Size != "" && err == nil {
		c.bytes = size.Value()
		return ""
	}
	hint := fmt.Sprintf("declare size with the knob %s", incident.KnobCacheDir)
	name := claimOf(c.pod(), volumeOf(c.spec, c.source.Name))
	if name == "" {
		return fmt.Sprintf("how much %s holds is not known: %s", c.from, hint)
	}
	claim, err := c.scene.claim(ctx, name)
	if err != nil {
		return fmt.Sprintf("how much claim %s holds is not known (%v): %s", name, err, hint)
	}
	c.bytes = capacityOf(claim)
	if c.bytes == 0 {
		return fmt.Sprintf("claim %s does not tell its size: %s", name, hint)
	}
	return ""
}

// claim reads one of the ranks' claims.
func (s scene) claim(ctx context.Context, name string) (*corev1.PersistentVolumeClaim, error) {
	claim, err := s.hands.Kube.CoreV1().PersistentVolumeClaims(s.now.Target.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, classify(err, "reading persistentvolumeclaim %s/%s", s.now.Target.Namespace, name)
	}
	return claim, nil
}

// capacityOf is how much a claim can hold, in bytes; 0 when it does not say.
func capacityOf(claim *corev1.PersistentVolumeClaim) int64 {
	has, wants := claim.Status.Capacity[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return max(has.Value(), wants.Value())
}
