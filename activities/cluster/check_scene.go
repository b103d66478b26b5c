package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// scene is what the checks of memory, volumes and loading look at: the target
// as it is now and the pods of its ranks.
type scene struct {
	hands *Hands
	check string
	now   incident.Workload
	found kin
	// pods are those of the present ranks, in their order. Where the ranks have
	// none, they are made from the pod templates, which is what the next ranks
	// will be like.
	pods      []corev1.Pod
	templates bool
	at        time.Time
}

// look reads the target and its ranks anew. A target that is gone is Missing.
func (h *Hands) look(ctx context.Context, check string, workload incident.Workload) (scene, error) {
	now, found, err := h.reread(ctx, workload)
	if err != nil {
		return scene{}, err
	}
	if found.top == nil {
		return scene{}, incident.Faultf(incident.Missing, nil, "%s is gone, or was created anew", workload.Target)
	}
	s := scene{hands: h, check: check, now: now, found: found, pods: rankPodsOf(now, found), at: h.Now()}
	if len(s.pods) == 0 {
		s.pods, s.templates = templatePods(found.top.Object), true
	}
	return s, nil
}

// answer carries out a check: what cannot be asked for all of its questions is
// unknown for all of them.
func (h *Hands) answer(ctx context.Context, check string, params steps.CheckParams, questions []string,
	ask func(context.Context, scene) []incident.Finding) (steps.CheckResult, error) {
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	s, err := h.look(ctx, check, workload)
	if err != nil {
		return unanswered(ctx, check, workload.Target, err, questions...)
	}
	findings := ask(ctx, s)
	if ctx.Err() != nil {
		return steps.CheckResult{}, classify(ctx.Err(), "carrying out %s for %s", check, workload.Target)
	}
	return steps.CheckResult{Findings: findings}, nil
}

// finding is about the target, and unknown until somebody knows better.
func (s scene) finding(id string) incident.Finding {
	return incident.Finding{ID: id, Check: s.check, State: incident.Unknown, Subject: subjectOf(s.now.Target)}
}

// saw names the file of what was looked at.
func (s scene) saw(pod corev1.Pod) []string {
	if s.templates {
		return []string{objectFile(s.found.top.GetKind(), s.found.top.GetName())}
	}
	return []string{objectFile("Pod", pod.Name)}
}

// share says of how many of the ranks something holds.
func (s scene) share(count int) string {
	if s.templates {
		return "by the pod template (there are no pods now)"
	}
	return fmt.Sprintf("on %d of %d ranks", count, len(s.pods))
}

// nothing says why there is nothing to look at.
func (s scene) nothing() string {
	return noPods(s.now) + ", and its template shows no container"
}

// rankOf is the rank of a pod, or what a pod of the template would be.
func (s scene) rankOf(pod corev1.Pod) incident.Rank {
	for _, rank := range s.now.Ranks {
		if rank.Pod == pod.Name && pod.Name != "" {
			return rank
		}
	}
	return rankOf(pod, unknownIndex)
}

// templatePods makes a pod of every pod template in an object, whatever its
// kind, those with GPUs alone where there are any.
func templatePods(object map[string]any) []corev1.Pod {
	var pods []corev1.Pod
	var walk func(value any)
	walk = func(value any) {
		fields, ok := value.(map[string]any)
		if list, isList := value.([]any); isList {
			for _, element := range list {
				walk(element)
			}
		}
		for _, key := range sortedKeys(fields) {
			if pod, is := podOfTemplate(fields[key]); ok && is && key == "template" {
				pods = append(pods, pod)
				continue
			}
			walk(fields[key])
		}
	}
	walk(object["spec"])
	withGPUs := slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool { return podGPUs(pod.Spec) == 0 })
	if len(withGPUs) > 0 {
		return withGPUs
	}
	return pods
}

// podOfTemplate reads a pod template, false when the value is something else.
func podOfTemplate(value any) (corev1.Pod, bool) {
	fields, _ := value.(map[string]any)
	spec, _ := fields["spec"].(map[string]any)
	if _, containers := spec["containers"].([]any); !containers {
		return corev1.Pod{}, false
	}
	var template corev1.PodTemplateSpec
	if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &template) != nil {
		return corev1.Pod{}, false
	}
	pod := corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	for i := range pod.Spec.Containers {
		requestLimits(&pod.Spec.Containers[i])
	}
	return pod, true
}

// requestLimits does to a container what the API server does to those of pods,
// and not to those of templates: what is limited and not requested is requested.
func requestLimits(container *corev1.Container) {
	for name, amount := range container.Resources.Limits {
		if _, requested := container.Resources.Requests[name]; requested {
			continue
		}
		if container.Resources.Requests == nil {
			container.Resources.Requests = corev1.ResourceList{}
		}
		container.Resources.Requests[name] = amount
	}
}

// freshEvents lists events of a namespace that were seen a short while ago, in
// the order in which they were last seen. The selector spares the server the
// others; keep decides.
func (h *Hands) freshEvents(ctx context.Context, namespace, selector string, keep func(corev1.Event) bool) ([]eventLine, error) {
	var lines []eventLine
	since := h.Now().Add(-recent)
	err := eachPage(func(options metav1.ListOptions) (string, error) {
		options.FieldSelector = selector
		page, err := h.Kube.CoreV1().Events(namespace).List(ctx, options)
		if err != nil {
			return "", classify(err, "listing events of namespace %s", namespace)
		}
		for _, event := range page.Items {
			if line := lineOfEvent(event); !line.At.Time.Before(since) && keep(event) {
				lines = append(lines, line)
			}
		}
		return page.Continue, nil
	})
	slices.SortStableFunc(lines, func(a, b eventLine) int { return a.At.Compare(b.At.Time) })
	return lines, err
}
