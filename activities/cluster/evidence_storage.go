package cluster

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
)

const (
	// maxPreparers and maxPreparerPods bound the jobs that prepare the data, of
	// which an alert about slow input may come late, and the pods of each.
	maxPreparers    = 8
	maxPreparerPods = 16
)

// data starts the keeping of what is behind the ranks' data: their claims with
// volumes and classes, and the jobs that prepare it with their pods' logs.
func (c *collection) data(ctx context.Context, group *errgroup.Group, now incident.Workload, found kin) {
	if found.top == nil {
		return
	}
	s := scene{hands: c.hands, now: now, found: found, pods: rankPodsOf(now, found), at: c.hands.Now()}
	if len(s.pods) == 0 {
		s.pods, s.templates = templatePods(found.top.Object), true
	}
	group.Go(func() error { return c.storage(ctx, s) })
	group.Go(func() error { return c.preparers(ctx, s) })
}

// storage keeps the claims of the ranks and what they lead to. What opens a volume
// is in Secrets, which only have their names here.
func (c *collection) storage(ctx context.Context, s scene) error {
	shelf, err := s.readShelf(ctx)
	if err != nil {
		c.gap("claims", err, "the claims of the ranks")
	}
	if shelf.blind != "" {
		c.gap("classes", nil, "volumes or classes of the claims: %s", shelf.blind)
	}
	if shelf.more > 0 {
		c.gap("more claims", nil, "%d further claims of the ranks", shelf.more)
	}
	kept := map[string]bool{}
	for _, name := range shelf.names {
		if err := c.claim(ctx, shelf, name, kept); err != nil {
			return err
		}
	}
	return nil
}

// claim keeps one claim, its volume, and its class unless another claim's was.
func (c *collection) claim(ctx context.Context, shelf shelf, name string, kept map[string]bool) error {
	claim, volume := shelf.claims[name], shelf.volumes[name]
	if claim == nil {
		return nil
	}
	if err := c.typed(ctx, "v1", "PersistentVolumeClaim", claim); err != nil {
		return err
	}
	if volume != nil {
		if err := c.typed(ctx, "v1", "PersistentVolume", volume); err != nil {
			return err
		}
	}
	class := shelf.classOf(claim)
	if class == nil || kept[class.Name] {
		return nil
	}
	kept[class.Name] = true
	return c.typed(ctx, "storage.k8s.io/v1", "StorageClass", class.DeepCopy())
}

// preparers keeps the jobs that prepare the data, and what their pods said.
func (c *collection) preparers(ctx context.Context, s scene) error {
	jobs, err := s.preparers(ctx)
	if err != nil {
		c.gap("preparers", err, "the jobs that prepare the data")
		return nil
	}
	if extra := len(jobs) - maxPreparers; extra > 0 {
		c.gap("more preparers", nil, "%d further jobs that prepare the data", extra)
		jobs = jobs[:maxPreparers]
	}
	for _, job := range jobs {
		if err := c.preparer(ctx, s, job); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) preparer(ctx context.Context, s scene, job batchv1.Job) error {
	if !slices.ContainsFunc(s.found.jobs, func(own batchv1.Job) bool { return own.UID == job.UID }) { // kept with the target's
		if err := c.typed(ctx, "batch/v1", "Job", &job); err != nil {
			return err
		}
	}
	page, err := c.hands.Kube.CoreV1().Pods(job.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name, Limit: maxPreparerPods})
	if err != nil {
		c.gap("preparer pods", classify(err, "listing pods of job %s", job.Name), "the pods of job %s", job.Name)
		return nil
	}
	if page.Continue != "" {
		c.gap("more preparer pods", nil, "further pods of job %s", job.Name)
	}
	for i := range page.Items {
		if err := c.preparerPod(ctx, s, &page.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) preparerPod(ctx context.Context, s scene, pod *corev1.Pod) error {
	sources, waiting := logSources(rankOf(*pod, unknownIndex), *pod, false)
	for _, text := range waiting {
		c.gap("waiting", nil, "%s", text)
	}
	for _, source := range sources {
		if err := c.log(ctx, source); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(s.found.pods, func(own corev1.Pod) bool { return own.UID == pod.UID }) {
		return nil // kept with the target's
	}
	return c.typed(ctx, "v1", "Pod", pod)
}
