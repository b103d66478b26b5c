package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
	"gpumedic/steps"
)

// maxClaims bounds how many claims are looked at: ranks of one workload share
// theirs, or have one each and all alike.
const maxClaims = 32

// CheckVolumes answers P1 and P4 from the objects: whether the claims of the
// ranks are bound, whether their volumes can be mounted, and whether their class
// is a slow one. It reads only and may be repeated.
func (h *Hands) CheckVolumes(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.VolumeUnbound, incident.VolumeMountFails, incident.VolumeClassSlow}
	return h.answer(ctx, steps.CheckVolumes, params, questions, func(ctx context.Context, s scene) []incident.Finding {
		if len(s.pods) == 0 {
			return s.unread(fmt.Errorf("%s", s.nothing()), questions...)
		}
		shelf, err := s.readShelf(ctx)
		if err != nil {
			return append(s.unread(err, incident.VolumeUnbound, incident.VolumeClassSlow), s.mountFails(ctx))
		}
		findings := append(shelf.unbound(s), s.mountFails(ctx))
		return append(findings, shelf.slow(s)...)
	})
}

// unread is the answer to questions that could not be asked.
func (s scene) unread(why error, questions ...string) []incident.Finding {
	var findings []incident.Finding
	for _, id := range questions {
		finding := s.finding(id)
		finding.Why = why.Error()
		findings = append(findings, finding)
	}
	return findings
}

// shelf is the claims of the ranks and what is behind them.
type shelf struct {
	names   []string
	more    int // claims beyond maxClaims
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	classes []storagev1.StorageClass
	// said is the newest warning about each claim.
	said map[string]eventLine
	// blind says why classes, volumes or events were not read; "" when they were.
	blind string
}

// claimOf is the name of the claim behind a pod's volume, "" when it has none.
func claimOf(pod corev1.Pod, volume corev1.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil && pod.Name != "":
		return pod.Name + "-" + volume.Name
	}
	return ""
}

// readShelf reads the claims, then what is behind them. Only claims that could
// not be read are an error.
func (s scene) readShelf(ctx context.Context) (shelf, error) {
	f := shelf{claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}, said: map[string]eventLine{}}
	for _, pod := range s.pods {
		for _, volume := range pod.Spec.Volumes {
			if name := claimOf(pod, volume); name != "" && !slices.Contains(f.names, name) {
				f.names = append(f.names, name)
			}
		}
	}
	slices.Sort(f.names)
	f.more = max(0, len(f.names)-maxClaims)
	f.names = f.names[:len(f.names)-f.more]
	for _, name := range f.names {
		claim, err := s.hands.Kube.CoreV1().PersistentVolumeClaims(s.now.Target.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return f, classify(err, "reading persistentvolumeclaim %s/%s", s.now.Target.Namespace, name)
		}
		f.claims[name] = claim
	}
	if len(f.names) > 0 {
		s.readBehind(ctx, &f)
	}
	return f, nil
}

// readBehind reads volumes, classes and what was said about the claims.
func (s scene) readBehind(ctx context.Context, f *shelf) {
	for _, name := range f.names {
		if claim := f.claims[name]; claim != nil && claim.Spec.VolumeName != "" {
			volume, err := s.hands.Kube.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
			if err == nil {
				f.volumes[name] = volume
			} else if !apierrors.IsNotFound(err) {
				f.blind = classify(err, "reading persistentvolume %s", claim.Spec.VolumeName).Error()
			}
		}
	}
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		page, err := s.hands.Kube.StorageV1().StorageClasses().List(ctx, options)
		if err != nil {
			return "", classify(err, "listing storageclasses")
		}
		f.classes = append(f.classes, page.Items...)
		return page.Continue, nil
	})
	if err != nil {
		f.blind = err.Error()
	}
	lines, err := s.hands.freshEvents(ctx, s.now.Target.Namespace, "involvedObject.kind=PersistentVolumeClaim", func(event corev1.Event) bool {
		return event.InvolvedObject.Kind == "PersistentVolumeClaim" && slices.Contains(f.names, event.InvolvedObject.Name) &&
			(event.Type == corev1.EventTypeWarning || event.Reason == "FailedBinding")
	})
	if err != nil {
		f.blind = orWord(f.blind, err.Error())
	}
	for _, line := range lines {
		f.said[strings.TrimPrefix(line.Object, "persistentvolumeclaim/")] = line
	}
}

// unbound names every claim that is not bound and ought to be.
func (f shelf) unbound(s scene) []incident.Finding {
	var findings []incident.Finding
	var waiting []string
	for _, name := range f.names {
		finding := s.finding(incident.VolumeUnbound)
		finding.Subject = "pvc/" + name
		value, why := f.bound(s, name)
		switch {
		case why == "":
			continue
		case value == "":
			waiting = append(waiting, why)
			continue
		}
		finding.State, finding.Value, finding.Why = incident.Yes, value, why
		if f.claims[name] != nil {
			finding.Evidence = []string{objectFile("PersistentVolumeClaim", name)}
		}
		findings = append(findings, finding)
	}
	if findings != nil {
		return findings
	}
	finding := s.finding(incident.VolumeUnbound)
	finding.State, finding.Why = incident.No, fmt.Sprintf("all %d claims of the ranks are bound", len(f.names))
	switch {
	case len(f.names) == 0:
		finding.Why = "the ranks mount no persistent volume claim"
	case f.more > 0:
		finding.State, finding.Why = incident.Unknown, fmt.Sprintf("the first %d claims of the ranks are bound; %d more were not looked at", len(f.names), f.more)
	case len(waiting) > 0:
		finding.Why = incident.Some(waiting)
	}
	return []incident.Finding{finding}
}

// bound says what is wrong with a claim, "" when nothing is. A claim that waits
// for its pod by its class's own rule has a reason and no value: it is not the
// trouble.
func (f shelf) bound(s scene, name string) (value, why string) {
	claim := f.claims[name]
	if claim == nil {
		return "missing", fmt.Sprintf("the pods mount claim %s, which does not exist", name)
	}
	class, said := f.classOf(claim), f.said[name]
	switch {
	case claim.Status.Phase == corev1.ClaimBound:
		return "", ""
	case claim.Status.Phase == corev1.ClaimLost:
		return string(claim.Status.Phase), fmt.Sprintf("claim %s has lost its volume %s", name, claim.Spec.VolumeName)
	case said.Reason != "":
		value, why = said.Reason, fmt.Sprintf("claim %s is not bound: %s%s", name, said.Reason, messageOf(death{message: said.Message}))
	case classNameOf(claim) != "" && class == nil && f.blind == "":
		value, why = string(corev1.ClaimPending), fmt.Sprintf("claim %s is not bound: it names the class %s, which does not exist", name, classNameOf(claim))
	case waitsForPod(class) && !s.placed(name):
		return "", fmt.Sprintf("claim %s waits until its pod has a node, as its class %s says", name, class.Name)
	default:
		value, why = string(corev1.ClaimPending), fmt.Sprintf("claim %s is not bound", name)
	}
	return value, why
}

func waitsForPod(class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// placed says whether a pod with the claim has a node.
func (s scene) placed(claim string) bool {
	return slices.ContainsFunc(s.pods, func(pod corev1.Pod) bool {
		return pod.Spec.NodeName != "" && slices.ContainsFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return claimOf(pod, volume) == claim })
	})
}

func classNameOf(claim *corev1.PersistentVolumeClaim) string {
	if claim.Spec.StorageClassName == nil {
		return claim.Annotations[corev1.BetaStorageClassAnnotation]
	}
	return *claim.Spec.StorageClassName
}

func (f shelf) classOf(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	for i := range f.classes {
		if f.classes[i].Name == classNameOf(claim) {
			return &f.classes[i]
		}
	}
	return nil
}
