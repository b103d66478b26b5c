package cluster

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// cacheVariables name the directories in which libraries and scripts keep what
// they downloaded: those of datasets first, the general ones last.
var cacheVariables = []string{"HF_DATASETS_CACHE", "DATA_CACHE_DIR", "CACHE_DIR", "HF_HOME", "TFDS_DATA_DIR", "TORCH_HOME", "XDG_CACHE_HOME"}

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
	// starts empty with the pod, or with the container where volume is "".
	empty  bool
	volume string
}

// caches answers whether a local cache is missing, and whether it is cold. All
// ranks have one template; where they have several, their volumes are alike.
func (s scene) caches(ctx context.Context) []incident.Finding {
	missing, cold := s.finding(incident.CacheMissing), s.finding(incident.CacheCold)
	if len(s.pods) == 0 {
		return s.unread(fmt.Errorf("%s", s.nothing()), missing.ID, cold.ID)
	}
	pod := s.pods[0]
	rank := s.rankOf(pod)
	env := s.hands.newEnvReader(s.now.Target.Namespace).read(ctx, rank, pod)
	container := containerNamed(pod, rank.Container)
	missing.Evidence, cold.Evidence = s.saw(pod), s.saw(pod)
	dir, from := cacheDir(s.knobs(), container, env)
	switch {
	case dir.unknown != "":
		missing.Why = fmt.Sprintf("%s is not known: %s", from, dir.unknown)
		cold.Why = missing.Why
		return []incident.Finding{missing, cold}
	case from == "":
		cold.State, cold.Why = incident.No, "no local cache is declared, so none is cold"
		return []incident.Finding{s.remoteDataset(ctx, missing, pod, container, env), cold}
	}
	where := s.lies(ctx, pod, container, dir.value)
	missing.State, missing.Value = opposite(where.local), dir.value
	missing.Why = fmt.Sprintf("%s=%s %s", from, dir.value, where.words)
	return []incident.Finding{missing, s.cold(cold, pod, rank, where, dir.value)}
}

// cold: the directory was empty when the pod or the container started a short
// while ago, and no init container filled it. What a program has put there since
// is not seen, so that later on nothing is known.
func (s scene) cold(finding incident.Finding, pod corev1.Pod, rank incident.Rank, where locality, dir string) incident.Finding {
	finding.Value = dir
	started := runningSince(pod, rank.Container)
	fills := slices.IndexFunc(pod.Spec.InitContainers, func(init corev1.Container) bool {
		return where.volume != "" && slices.ContainsFunc(init.VolumeMounts, func(mount corev1.VolumeMount) bool { return mount.Name == where.volume })
	})
	switch {
	case !where.empty:
		finding.Why = fmt.Sprintf("%s %s; what is in it is not seen here", dir, where.words)
	case fills >= 0:
		finding.State, finding.Why = incident.No, fmt.Sprintf("init container %s fills %s before the ranks start", pod.Spec.InitContainers[fills].Name, dir)
	case started.IsZero() || s.at.Sub(started) >= recent:
		finding.Why = fmt.Sprintf("%s was empty at first; what is in it since is not seen here", dir)
	default:
		finding.State = incident.Yes
		finding.Why = fmt.Sprintf("%s was empty when the ranks started %s ago, and no init container fills it: %s", dir, incident.Short(s.at.Sub(started)), where.words)
	}
	return finding
}

// runningSince is when a container of a pod was started, zero when it does not
// run.
func runningSince(pod corev1.Pod, container string) time.Time {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container && status.State.Running != nil {
			return status.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
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
func cacheDir(knobs []incident.Knob, container *corev1.Container, env environment) (dir setting, from string) {
	for _, knob := range knobs {
		if value, ok := turned(knob, incident.KnobCacheDir, container, env); ok && value.value+value.unknown != "" {
			return value, "knob " + orWord(knob.Env, knob.Arg)
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
			incident.KnobCacheDir, strings.Join(cacheVariables, ", "), incident.Some(remote))
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
		return locality{local: incident.Unknown, words: "is no absolute path, so that where it lies cannot be told"}
	case name == "":
		return locality{local: incident.Yes, words: "lies in the container's own layer on the node, and is lost with each restart", empty: true}
	case volume == nil:
		return locality{local: incident.Unknown, words: fmt.Sprintf("lies on volume %s, which the pod does not describe", name)}
	}
	return s.volumeLies(ctx, pod, volume)
}

// volumeLies tells volumes of the node from those of the network.
func (s scene) volumeLies(ctx context.Context, pod corev1.Pod, volume *corev1.Volume) locality {
	switch {
	case volume.EmptyDir != nil:
		return locality{local: incident.Yes, words: fmt.Sprintf("lies on the emptyDir %s of the node, and is lost with the pod", volume.Name), empty: true, volume: volume.Name}
	case volume.HostPath != nil:
		return locality{local: incident.Unknown, words: fmt.Sprintf("lies on the node's %s, which may be a disk of its own or mounted over the network", volume.HostPath.Path)}
	case volume.ConfigMap != nil, volume.Secret != nil, volume.DownwardAPI != nil, volume.Projected != nil, volume.Image != nil:
		return locality{local: incident.Yes, words: fmt.Sprintf("lies on volume %s, which the kubelet fills", volume.Name)}
	case volume.NFS != nil:
		return locality{local: incident.No, words: fmt.Sprintf("lies on the NFS share %s of %s", volume.NFS.Path, volume.NFS.Server)}
	case volume.CSI != nil:
		return locality{local: incident.No, words: fmt.Sprintf("lies on volume %s of driver %s", volume.Name, volume.CSI.Driver)}
	case claimOf(pod, *volume) != "":
		return s.claimLies(ctx, claimOf(pod, *volume))
	}
	return locality{local: incident.Unknown, words: fmt.Sprintf("lies on volume %s, whose kind is not known", volume.Name)}
}

// claimLies looks at the persistent volume behind a claim. A driver that serves
// disks over the network and one that serves the node's own look alike, unless
// the volume is of kind local.
func (s scene) claimLies(ctx context.Context, name string) locality {
	unknown := func(err error) locality {
		return locality{local: incident.Unknown, words: "lies behind a claim: " + err.Error()}
	}
	claim, err := s.hands.Kube.CoreV1().PersistentVolumeClaims(s.now.Target.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return unknown(classify(err, "reading persistentvolumeclaim %s/%s", s.now.Target.Namespace, name))
	}
	if claim.Spec.VolumeName == "" {
		return locality{local: incident.Unknown, words: fmt.Sprintf("lies behind claim %s, which is not bound", name)}
	}
	volume, err := s.hands.Kube.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return unknown(classify(err, "reading persistentvolume %s", claim.Spec.VolumeName))
	}
	if volume.Spec.HostPath != nil {
		return locality{local: incident.Unknown, words: fmt.Sprintf("lies on the node's %s, which may be a disk of its own or mounted over the network", volume.Spec.HostPath.Path)}
	}
	if volume.Spec.Local != nil || strings.Contains(driverOf(volume), "local") {
		return locality{local: incident.Yes, words: fmt.Sprintf("lies on the local volume %s of the node", volume.Name)}
	}
	return locality{local: incident.No, words: fmt.Sprintf("lies on volume %s of %s, behind claim %s", volume.Name, orWord(driverOf(volume), "a network"), name)}
}
