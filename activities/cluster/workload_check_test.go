package cluster

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
)

// ranksThat makes a gang of four whose ranks are changed one by one.
func ranksThat(options ...func(*corev1.Pod)) []runtime.Object {
	objects := []runtime.Object{testJob(len(options))}
	for i, option := range options {
		pod := testPod(i, "")
		if option != nil {
			option(pod)
		}
		objects = append(objects, pod, testNode(i))
	}
	return objects
}

func disrupted(reason string, ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodFailed
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: reason, Message: "made room", LastTransitionTime: metav1.NewTime(midday.Add(-ago))})
	}
}

func both(options ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, option := range options {
			option(pod)
		}
	}
}

func TestWhoDiedFirst(t *testing.T) {
	const m, s = time.Minute, time.Second
	oom := died(10*m, 2*m, 137, "OOMKilled")
	for name, test := range map[string]struct {
		ranks   []func(*corev1.Pod)
		state   incident.State
		subject string
		value   string
		failing string
	}{
		"nobody": {ranks: []func(*corev1.Pod){nil, nil, nil, nil}, state: incident.No, subject: "job/llama-70b", failing: "0 of 4"},
		"an OOM kill, and its peers two seconds later": {
			ranks: []func(*corev1.Pod){died(10*m, 2*m-2*s, 1, "Error"), died(10*m, 2*m-2*s, 1, "Error"), died(10*m, 2*m-2*s, 134, "Error"), oom},
			state: incident.Yes, subject: "pod/llama-70b-3-aaaaa", value: "OOMKilled, exit 137", failing: "4 of 4",
		},
		"an OOM kill in the same second as its peers' exits": {
			ranks: []func(*corev1.Pod){died(10*m, 2*m, 1, "Error"), oom, died(10*m, 2*m, 1, "Error"), died(10*m, 2*m, 1, "Error")},
			state: incident.Yes, subject: "pod/llama-70b-1-aaaaa", value: "OOMKilled, exit 137", failing: "4 of 4",
		},
		"a kill that came after the others": {
			ranks: []func(*corev1.Pod){died(10*m, 2*m+20*s, 1, "Error"), oom, died(10*m, 2*m+20*s, 1, "Error"), nil},
			state: incident.No, subject: "job/llama-70b", failing: "3 of 4",
		},
		"all were killed at once": {
			ranks: []func(*corev1.Pod){died(10*m, 2*m, 137, "Error"), died(10*m, 2*m, 137, "Error"), died(10*m, 2*m, 137, "Error"), died(10*m, 2*m, 137, "Error")},
			state: incident.No, subject: "job/llama-70b", failing: "4 of 4",
		},
		"a rank that threw an exception well before the others": {
			ranks: []func(*corev1.Pod){died(10*m, 2*m-30*s, 1, "Error"), died(10*m, 2*m-30*s, 1, "Error"), died(10*m, 2*m, 1, "Error"), died(10*m, 2*m-30*s, 1, "Error")},
			state: incident.Yes, subject: "pod/llama-70b-2-aaaaa", value: "Error, exit 1", failing: "4 of 4",
		},
		"ranks that time out in the order in which they started": {
			ranks: []func(*corev1.Pod){died(10*m, 5*m, 1, "Error"), died(10*m-5*s, 5*m-5*s, 1, "Error"), died(10*m-9*s, 5*m-9*s, 1, "Error"), died(10*m-12*s, 5*m-12*s, 1, "Error")},
			state: incident.No, subject: "job/llama-70b", failing: "4 of 4",
		},
		"a rank that just died again while its peers' last deaths are of the attempt before": {
			ranks: []func(*corev1.Pod){died(20*m, 10*m, 1, "Error"), both(died(9*m, 10*s, 137, "OOMKilled"), backOff), died(20*m, 10*m, 1, "Error"), died(20*m, 10*m, 1, "Error")},
			state: incident.Yes, subject: "pod/llama-70b-1-aaaaa", value: "OOMKilled, exit 137", failing: "4 of 4",
		},
		"a rank that was preempted": {
			ranks: []func(*corev1.Pod){died(30*m, 3*m, 1, "Error"), nil, disrupted("PreemptionByScheduler", 4*m), nil},
			state: incident.Yes, subject: "pod/llama-70b-2-aaaaa", value: "PreemptionByScheduler", failing: "2 of 4",
		},
		"an evicted pod without container states": {
			ranks: []func(*corev1.Pod){nil, nil, nil, func(pod *corev1.Pod) {
				pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
			}},
			state: incident.Yes, subject: "pod/llama-70b-3-aaaaa", value: "Evicted", failing: "1 of 4",
		},
		"restarts of yesterday": {
			ranks: []func(*corev1.Pod){died(30*time.Hour, 20*time.Hour, 1, "Error"), died(30*time.Hour, 20*time.Hour, 1, "Error"), nil, nil},
			state: incident.No, subject: "job/llama-70b", failing: "0 of 4",
		},
		"a lone rank that ended by itself a moment ago": {
			ranks: []func(*corev1.Pod){nil, died(10*m, 1*s, 1, "Error"), nil, nil},
			state: incident.No, subject: "job/llama-70b", failing: "1 of 4",
		},
		"a lone rank that ended by itself a while ago": {
			ranks: []func(*corev1.Pod){nil, died(10*m, 10*s, 1, "Error"), nil, nil},
			state: incident.Yes, subject: "pod/llama-70b-1-aaaaa", value: "Error, exit 1", failing: "1 of 4",
		},
		"a lone rank that was killed a moment ago": {
			ranks: []func(*corev1.Pod){nil, died(10*m, 1*s, 137, "OOMKilled"), nil, nil},
			state: incident.Yes, subject: "pod/llama-70b-1-aaaaa", value: "OOMKilled, exit 137", failing: "1 of 4",
		},
		"a rank that ended well": {
			ranks: []func(*corev1.Pod){died(10*m, 5*m, 0, "Completed"), nil, nil, nil},
			state: incident.No, subject: "job/llama-70b", failing: "0 of 4",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, ranksThat(test.ranks...)...)
			result := w.checked(t, w.CheckWorkload)
			first := only(t, result, incident.RankDiedFirst)
			if first.State != test.state || first.Subject != test.subject || first.Value != test.value || first.Why == "" {
				t.Errorf("died first: %+v", first)
			}
			if first.State == incident.Yes && (len(first.Evidence) != 1 || first.Evidence[0] != "objects/pod-"+first.Subject[4:]+".json") {
				t.Errorf("evidence %v", first.Evidence)
			}
			failing := only(t, result, incident.RanksFailing)
			if failing.Value != test.failing || (failing.State == incident.Yes) != (test.failing[:1] != "0") {
				t.Errorf("failing: %+v", failing)
			}
		})
	}
}

// TestWhoDiedFirstOfReplacedPods: with restartPolicy Never the dead pod stays
// and a new one takes its index.
func TestWhoDiedFirstOfReplacedPods(t *testing.T) {
	dead := func(ago time.Duration, code int32, reason string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodFailed
			trainerState(pod).State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason,
				StartedAt: metav1.NewTime(midday.Add(-time.Hour)), FinishedAt: metav1.NewTime(midday.Add(-ago))}}
		}
	}
	objects := []runtime.Object{testJob(2),
		testPod(0, "older", born(2*time.Hour), dead(5*time.Minute, 1, "Error")), testPod(1, "older", born(2*time.Hour), dead(5*time.Minute+8*time.Second, 139, "Error")),
		testPod(0, "newer", born(4*time.Minute)), testPod(1, "newer", born(4*time.Minute)), testNode(0), testNode(1)}
	w := newWorld(t, objects...)
	result := w.checked(t, w.CheckWorkload)
	if first := only(t, result, incident.RankDiedFirst); first.State != incident.Yes || first.Subject != "pod/llama-70b-1-older" || first.Value != "Error, exit 139" {
		t.Errorf("died first: %+v", first)
	}
	if failing := only(t, result, incident.RanksFailing); failing.Value != "2 of 2" {
		t.Errorf("failing: %+v", failing)
	}
}

func TestMissingAndFailed(t *testing.T) {
	pending := func(pod *corev1.Pod) { pod.Status = corev1.PodStatus{Phase: corev1.PodPending} }
	suspended := testJob(4)
	yes := true
	suspended.Spec.Suspend = &yes
	over := testJob(4)
	over.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"}}
	for name, test := range map[string]struct {
		objects         []runtime.Object
		missing, failed incident.State
		value, why      string
		first           incident.State
	}{
		"all there":       {gang(4), incident.No, incident.No, "4 of 4", "all 4 ranks have a pod", incident.No},
		"two have no pod": {[]runtime.Object{testJob(4), testPod(0, ""), testPod(1, "")}, incident.Yes, incident.No, "2 of 4", "2 of 4 ranks have no pod", incident.No},
		"one is pending":  {ranksThat(nil, nil, nil, pending), incident.No, incident.No, "4 of 4", "1 are not running yet: rank 3", incident.No},
		"suspended":       {[]runtime.Object{suspended}, incident.No, incident.No, "0 of 4", "suspended", incident.Unknown},
		"gave up":         {[]runtime.Object{over}, incident.No, incident.Yes, "0 of 4", "BackoffLimitExceeded", incident.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects...)
			result := w.checked(t, w.CheckWorkload)
			missing, failed := only(t, result, incident.RanksMissing), only(t, result, incident.WorkloadFailed)
			if missing.State != test.missing || missing.Value != test.value || failed.State != test.failed {
				t.Errorf("missing %+v, failed %+v", missing, failed)
			}
			contains(t, missing.Why, test.why)
			if first := only(t, result, incident.RankDiedFirst); first.State != test.first {
				t.Errorf("died first: %+v", first)
			}
			if test.failed == incident.Yes && (failed.Value != "BackoffLimitExceeded" || failed.Evidence[0] != "objects/job-llama-70b.json") {
				t.Errorf("failed %+v", failed)
			}
		})
	}
}

// TestWhatCouldNotBeAskedIsUnknown goes through all checks that ask the
// cluster: neither healthy nor broken is said, and why is.
func TestWhatCouldNotBeAskedIsUnknown(t *testing.T) {
	for name, change := range map[string]func(*world){
		"refused":   func(w *world) { w.refuse("list", "pods", "") },
		"no answer": func(w *world) { w.fail("list", "pods") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, gang(2)...)
			found, _ := w.resolved(t, jobTarget)
			change(w)
			params := paramsOf(found)
			for check, carryOut := range w.checks() {
				result, err := carryOut(t.Context(), params)
				if err != nil || len(result.Findings) == 0 {
					t.Fatalf("%s: %v, %v", check, result, err)
				}
				for _, finding := range result.Findings {
					if finding.State != incident.Unknown || finding.Check != check {
						t.Errorf("%s: %+v", check, finding)
					}
					contains(t, finding.Why, "listing pods of namespace training")
				}
			}
		})
	}
}

// TestLastWordsAreRedacted: a container may leave anything as its termination
// message.
func TestLastWordsAreRedacted(t *testing.T) {
	w := newWorld(t, ranksThat(nil, both(died(time.Hour, time.Minute, 1, "Error"), func(pod *corev1.Pod) {
		trainerState(pod).LastTerminationState.Terminated.Message = "cannot log in with " + plantedSecret
	}))...)
	first := only(t, w.checked(t, w.CheckWorkload), incident.RankDiedFirst)
	if containsSecret(first.Why) {
		t.Errorf("%+v", first)
	}
	contains(t, first.Why, "cannot log in with")
}

func TestTargetThatIsGoneIsUnknown(t *testing.T) {
	w := newWorld(t, gang(2)...)
	found, _ := w.resolved(t, jobTarget)
	if err := w.dynamic.Tracker().Delete(batchv1.SchemeGroupVersion.WithResource("jobs"), "training", "llama-70b"); err != nil {
		t.Fatal(err)
	}
	result, err := w.CheckWorkload(t.Context(), paramsOf(found))
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range result.Findings {
		if finding.State != incident.Unknown {
			t.Errorf("%+v", finding)
		}
		contains(t, finding.Why, "gone")
	}
}

func TestCheckThatIsStoppedIsAnError(t *testing.T) {
	w := newWorld(t, gang(2)...)
	found, _ := w.resolved(t, jobTarget)
	w.fail("list", "pods")
	ctx, cancel := contextThatEnds(t)
	cancel()
	if _, err := w.CheckWorkload(ctx, paramsOf(found)); incident.KindOf(err) != incident.TimedOut {
		t.Errorf("got %v", err)
	}
}
