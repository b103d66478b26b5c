package cluster

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"gpumedic/incident"
)

// media is what a provisioner's parameter says of the disks behind a class.
type media struct {
	// parameters that name the type, in lower case, the first that is set counts.
	parameters []string
	// unset is the type where none is set; "" when that cannot be told.
	unset string
	// slow and fast are types, in lower case; "x-" stands for all that begin so.
	slow, fast []string
	// shared: its volumes can be mounted by several nodes.
	shared bool
}

// provisioners are those whose types are public knowledge. Sources: the
// parameter tables of the drivers' documentation (gcp-compute-persistent-disk,
// gcp-filestore, aws-ebs, aws-fsx, azuredisk and azurefile CSI drivers) and
// the clouds' pages on disk types, which call the slow ones HDD or magnetic.
var provisioners = map[string]media{
	"pd.csi.storage.gke.io":        gcePD,
	"kubernetes.io/gce-pd":         inTree(gcePD),
	"ebs.csi.aws.com":              awsEBS,
	"kubernetes.io/aws-ebs":        inTree(awsEBS),
	"disk.csi.azure.com":           azureDisk,
	"kubernetes.io/azure-disk":     inTree(azureDisk),
	"filestore.csi.storage.gke.io": {parameters: []string{"tier"}, unset: "standard", slow: []string{"standard", "basic_hdd"}, fast: []string{"premium", "basic_ssd", "high_scale_ssd", "zonal", "regional", "enterprise"}, shared: true},
	"file.csi.azure.com":           {parameters: []string{"skuname", "storageaccounttype"}, unset: "standard_lrs", slow: []string{"standard_", "standardv2_"}, fast: []string{"premium_", "premiumv2_"}, shared: true},
	"fsx.csi.aws.com":              {parameters: []string{"storagetype"}, unset: "ssd", slow: []string{"hdd"}, fast: []string{"ssd"}, shared: true},
}

var (
	gcePD     = media{parameters: []string{"type"}, unset: "pd-standard", slow: []string{"pd-standard"}, fast: []string{"pd-ssd", "pd-balanced", "pd-extreme", "hyperdisk-"}}
	awsEBS    = media{parameters: []string{"type"}, unset: "gp3", slow: []string{"st1", "sc1", "standard"}, fast: []string{"gp2", "gp3", "io1", "io2"}}
	azureDisk = media{parameters: []string{"skuname", "storageaccounttype"}, unset: "standardssd_lrs", slow: []string{"standard_lrs"}, fast: []string{"standardssd_", "premium_", "premiumv2_", "ultrassd_"}}
)

// inTree is the old name of a driver. Its default type depended on the release,
// and so cannot be told.
func inTree(known media) media {
	known.unset = ""
	return known
}

// Words by which other classes tell their media, in their name or in a
// parameter about it. "standard" is none: it names whatever a site has.
var (
	slowWords       = []string{"hdd", "sata", "magnetic", "spinning", "cold", "archive"}
	fastWords       = []string{"ssd", "nvme", "premium", "fast", "flash"}
	mediaParameters = regexp.MustCompile(`(?i)type|tier|media|pool|class`)
	wordBreaks      = regexp.MustCompile(`[^a-z0-9]+`)
)

// speed of a class. The zero value: it cannot be told.
type speed struct {
	slow, fast bool
	by         string
}

// speedOf reads a class by its provisioner's parameters, or else by its words.
func speedOf(class storagev1.StorageClass) speed {
	known, ok := provisioners[class.Provisioner]
	if !ok {
		return speedByWords(class)
	}
	kind, by := known.unset, ""
	if kind != "" {
		by = "its default type " + kind
	}
	for _, parameter := range known.parameters {
		for key, value := range class.Parameters {
			if strings.EqualFold(key, parameter) {
				kind, by = strings.ToLower(value), key+" "+value
			}
		}
	}
	return speed{slow: listed(known.slow, kind), fast: listed(known.fast, kind), by: by}
}

func listed(types []string, kind string) bool {
	return slices.ContainsFunc(types, func(one string) bool {
		return kind == one || (strings.HasSuffix(one, "-") || strings.HasSuffix(one, "_")) && strings.HasPrefix(kind, one)
	})
}

func speedByWords(class storagev1.StorageClass) speed {
	texts, by := []string{class.Name}, []string{"its name"}
	for _, key := range sortedNames(class.Parameters) {
		if mediaParameters.MatchString(key) {
			texts, by = append(texts, class.Parameters[key]), append(by, key+" "+class.Parameters[key])
		}
	}
	for i := len(texts) - 1; i >= 0; i-- { // parameters say more than a name
		words := wordBreaks.Split(strings.ToLower(texts[i]), -1)
		has := func(known []string) bool {
			return slices.ContainsFunc(words, func(word string) bool { return slices.Contains(known, word) })
		}
		if slow, fast := has(slowWords), has(fastWords); slow != fast {
			return speed{slow: slow, fast: fast, by: by[i]}
		}
	}
	return speed{}
}

// slow names the claims whose class is a slow one while the cluster has a
// faster one that could serve them.
func (f shelf) slow(s scene) []incident.Finding {
	var slow, rest []incident.Finding
	for _, name := range f.names {
		finding := f.slowClaim(s, name)
		if finding.State == incident.Yes {
			slow = append(slow, finding)
		} else {
			rest = append(rest, finding)
		}
	}
	if slow != nil {
		return slow
	}
	finding := s.finding(incident.VolumeClassSlow)
	finding.State, finding.Why = incident.No, "the ranks mount no persistent volume claim"
	var words []string
	for i, one := range rest {
		if words = append(words, one.Why); i == 0 || graver(one.State, finding.State) {
			finding.State, finding.Value = one.State, one.Value
		}
	}
	if len(words) > 0 {
		finding.Why = incident.Some(words)
	}
	if f.more > 0 {
		finding.State, finding.Why = incident.Unknown, fmt.Sprintf("%s; %d more claims were not looked at", finding.Why, f.more)
	}
	return []incident.Finding{finding}
}

// slowClaim answers for one claim.
func (f shelf) slowClaim(s scene, name string) incident.Finding {
	finding := s.finding(incident.VolumeClassSlow)
	finding.Subject = "pvc/" + name
	claim := f.claims[name]
	if claim == nil {
		finding.Why = fmt.Sprintf("claim %s does not exist", name)
		return finding
	}
	class := f.classOf(claim)
	if class == nil {
		finding.Why = fmt.Sprintf("how fast claim %s is cannot be told: %s", name, orWord(f.blind, f.classless(name, claim)))
		return finding
	}
	finding.Value = class.Name
	finding.Evidence = []string{objectFile("PersistentVolumeClaim", name), objectFile("StorageClass", class.Name)}
	have := speedOf(*class)
	words := fmt.Sprintf("claim %s is of class %s (%s, by %s)", name, class.Name, class.Provisioner, orWord(have.by, "nothing that is known"))
	faster := f.faster(claim, class)
	switch {
	case have.fast:
		finding.State, finding.Why = incident.No, words+", which is a fast one"
	case !have.slow:
		finding.Why = words + ", and whether that is a slow one cannot be told"
	case len(faster) == 0:
		finding.State, finding.Why = incident.No, words+", which is a slow one, and the cluster has no faster class that could serve it"
	default:
		finding.State, finding.Value = incident.Yes, fmt.Sprintf("%s, faster: %s", class.Name, faster[0])
		finding.Why = fmt.Sprintf("%s, which is a slow one; the cluster has %s", words, strings.Join(faster, ", "))
	}
	return finding
}

// classless describes the volume behind a claim without a class that exists.
func (f shelf) classless(name string, claim *corev1.PersistentVolumeClaim) string {
	if volume := f.volumes[name]; volume != nil {
		return fmt.Sprintf("its volume %s of %s has no class in the cluster", volume.Name, orWord(driverOf(volume), "an unknown kind"))
	}
	return fmt.Sprintf("its class %q is not in the cluster", classNameOf(claim))
}

// faster lists the fast classes that could serve a claim, those of its own
// provisioner first. A claim that several nodes write or read needs a
// provisioner that can: its own, or one that is known to.
func (f shelf) faster(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) []string {
	var own, others []string
	for _, other := range f.classes {
		switch {
		case !speedOf(other).fast:
		case other.Provisioner == class.Provisioner:
			own = append(own, other.Name)
		case !manyNodes(claim) || provisioners[other.Provisioner].shared:
			others = append(others, other.Name)
		}
	}
	slices.Sort(own)
	slices.Sort(others)
	return append(own, others...)
}

func manyNodes(claim *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(claim.Spec.AccessModes, func(mode corev1.PersistentVolumeAccessMode) bool {
		return mode == corev1.ReadWriteMany || mode == corev1.ReadOnlyMany
	})
}

// driverOf is who serves a persistent volume, "" when its kind is not known.
func driverOf(volume *corev1.PersistentVolume) string {
	source := volume.Spec.PersistentVolumeSource
	switch {
	case source.CSI != nil:
		return source.CSI.Driver
	case source.NFS != nil:
		return "nfs " + source.NFS.Server
	case source.Local != nil:
		return "local"
	case source.HostPath != nil:
		return "hostPath"
	}
	return ""
}
