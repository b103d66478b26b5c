package cluster

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// cacheVariables name the directories in which libraries keep what they
// downloaded: those of datasets first, the general ones last.
var cacheVariables = []string{"HF_DATASETS_CACHE", "HF_HOME", "TFDS_DATA_DIR", "TORCH_HOME", "XDG_CACHE_HOME"}

// remoteURL finds a dataset that is named by an address.
var remoteURL = regexp.MustCompile(`\b(?:s3a?|gs|gcs|az|abfss?|wasbs?|oss|hdfs|hf|https?)://[^\s"',;?#]+`)

// datasetWords tell an address of data from others that a command line may
// hold, such as a proxy or a tracking server.
var datasetWords = regexp.MustCompile(`(?i)data|train|corpus|shard|bucket`)

// locality says where a directory of a container lies.
type locality struct {
	// local is on the node itself: a copy there spares the network.
	local incident.State
	words string
}

// cacheMissing: the dataset is remote, and no directory on the node is declared
// to keep a copy of it.
func (s scene) cacheMissing(ctx context.Context) incident.Finding {
	finding := s.finding(incident.CacheMissing)
	if len(s.pods) == 0 {
		finding.Why = s.nothing()
		return finding
	}
	pod := s.pods[0] // all ranks have one template; where they have two, their volumes are alike
	rank := s.rankOf(pod)
	env := s.hands.newEnvReader(s.now.Target.Namespace).read(ctx, rank, pod)
	container := containerNamed(pod, rank.Container)
	finding.Evidence = s.saw(pod)
	dir, from := cacheDir(s.knobs(), commandLine(container, env), env, rank.Container)
	if dir.unknown != "" {
		finding.Why = fmt.Sprintf("%s is not known: %s", from, dir.unknown)
		return finding
	}
	if from != "" {
		where := s.lies(ctx, pod, container, dir.value)
		finding.State, finding.Value = opposite(where.local), dir.value
		finding.Why = fmt.Sprintf("%s=%s %s", from, dir.value, where.words)
		return finding
	}
	return s.remoteDataset(ctx, finding, pod, container, env)
}

func opposite(state incident.State) incident.State {
	switch state {
	case incident.Yes:
		return incident.No
	case incident.No:
		return incident.Yes
	}
	return incident.Unknown
}

// cacheDir is the declared directory and who declares it, from "" when nobody
// does. A source that was not read may declare one.
func cacheDir(knobs []incident.Knob, line string, env environment, container string) (dir setting, from string) {
	for _, knob := range knobs {
		if knob.Role == incident.KnobCacheDir && (knob.Container == "" || knob.Container == container) {
			if value, ok := turned(knob, line, env); ok && value.value+value.unknown != "" {
				return value, "knob " + orWord(knob.Env, knob.Arg)
			}
		}
	}
	for _, name := range cacheVariables {
		if value, ok := env.get(name); ok && value.value+value.unknown != "" {
			return value, name
		}
	}
	return setting{}, ""
}

// remoteDataset answers where no cache is declared: it is missing only when
// something remote is read.
func (s scene) remoteDataset(ctx context.Context, finding incident.Finding, pod corev1.Pod, container *corev1.Container, env environment) incident.Finding {
	remote, unsure := addresses(container, env), ""
	for _, mount := range mountsOf(container) {
		switch where := s.lies(ctx, pod, container, mount.MountPath); where.local {
		case incident.No:
			remote = append(remote, where.words)
		case incident.Unknown:
			unsure = orWord(unsure, where.words)
		}
	}
	switch {
	case len(remote) > 0:
		finding.State, finding.Value = incident.Yes, remote[0]
		finding.Why = fmt.Sprintf("no local cache is declared (looked for the knob %s and %s), and the ranks read over the network: %s",
			incident.KnobCacheDir, strings.Join(cacheVariables, ", "), some(remote))
	case unsure != "":
		finding.Why = "no local cache is declared, and whether the dataset is remote is not known: a directory " + unsure
	default:
		finding.Why = "no local cache is declared, and where the dataset comes from is told neither by volumes nor by addresses"
	}
	return finding
}

// addresses lists the remote datasets that arguments and variables name,
// without what could be a secret in them.
func addresses(container *corev1.Container, env environment) []string {
	texts := []string{commandLine(container, env)}
	for _, name := range sortedNames(env.vars) {
		texts = append(texts, name+"="+env.vars[name].value)
	}
	var found []string
	for _, text := range texts {
		for _, address := range remoteURL.FindAllString(text, -1) {
			objects := !strings.HasPrefix(address, "http")
			if objects || datasetWords.MatchString(text) {
				found = append(found, redact.String(address))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func mountsOf(container *corev1.Container) []corev1.VolumeMount {
	if container == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(container.VolumeMounts), func(mount corev1.VolumeMount) bool {
		return strings.HasPrefix(mount.MountPath, "/var/run/secrets/") || path.Clean(mount.MountPath) == shmPath
	})
}

// lies says where a directory is, by the volume mounted nearest above it.
func (s scene) lies(ctx context.Context, pod corev1.Pod, container *corev1.Container, dir string) locality {
	nearest, name := "", ""
	for _, mount := range mountsOf(container) {
		at := path.Clean(mount.MountPath)
		if (dir == at || strings.HasPrefix(path.Clean(dir)+"/", strings.TrimSuffix(at, "/")+"/")) && len(at) > len(nearest) {
			nearest, name = at, mount.Name
		}
	}
	volume := volumeNamed(pod, name)
	switch {
	case !path.IsAbs(dir):
		return locality{incident.Unknown, "is no absolute path, so that where it lies cannot be told"}
	case name == "":
		return locality{incident.Yes, "lies in the container's own layer on the node, and is lost with each restart"}
	case volume == nil:
		return locality{incident.Unknown, fmt.Sprintf("lies on volume %s, which the pod does not describe", name)}
	}
	return s.volumeLies(ctx, pod, volume)
}

// volumeLies tells volumes of the node from those of the network.
func (s scene) volumeLies(ctx context.Context, pod corev1.Pod, volume *corev1.Volume) locality {
	switch {
	case volume.EmptyDir != nil:
		return locality{incident.Yes, fmt.Sprintf("lies on the emptyDir %s of the node, and is lost with the pod", volume.Name)}
	case volume.HostPath != nil:
		return locality{incident.Yes, fmt.Sprintf("lies on the node's own %s", volume.HostPath.Path)}
	case volume.ConfigMap != nil, volume.Secret != nil, volume.DownwardAPI != nil, volume.Projected != nil, volume.Image != nil:
		return locality{incident.Yes, fmt.Sprintf("lies on volume %s, which the kubelet fills", volume.Name)}
	case volume.NFS != nil:
		return locality{incident.No, fmt.Sprintf("lies on the NFS share %s of %s", volume.NFS.Path, volume.NFS.Server)}
	case volume.CSI != nil:
		return locality{incident.No, fmt.Sprintf("lies on volume %s of driver %s", volume.Name, volume.CSI.Driver)}
	case claimOf(pod, *volume) != "":
		return s.claimLies(ctx, claimOf(pod, *volume))
	}
	return locality{incident.Unknown, fmt.Sprintf("lies on volume %s, whose kind is not known", volume.Name)}
}

// claimLies looks at the persistent volume behind a claim. A driver that serves
// disks over the network and one that serves the node's own look alike, unless
// the volume is of kind local.
func (s scene) claimLies(ctx context.Context, name string) locality {
	unknown := func(err error) locality { return locality{incident.Unknown, "lies behind a claim: " + err.Error()} }
	claim, err := s.hands.Kube.CoreV1().PersistentVolumeClaims(s.now.Target.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return unknown(classify(err, "reading persistentvolumeclaim %s/%s", s.now.Target.Namespace, name))
	}
	if claim.Spec.VolumeName == "" {
		return locality{incident.Unknown, fmt.Sprintf("lies behind claim %s, which is not bound", name)}
	}
	volume, err := s.hands.Kube.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return unknown(classify(err, "reading persistentvolume %s", claim.Spec.VolumeName))
	}
	if volume.Spec.Local != nil || volume.Spec.HostPath != nil || strings.Contains(driverOf(volume), "local") {
		return locality{incident.Yes, fmt.Sprintf("lies on the local volume %s of the node", volume.Name)}
	}
	return locality{incident.No, fmt.Sprintf("lies on volume %s of %s, behind claim %s", volume.Name, orWord(driverOf(volume), "a network"), name)}
}
