package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/rig"
	"gpumedic/lab/scenarios"
	"gpumedic/steps"
)

// TestPromise5TestJobsAreNotLeftBehind kills the worker when the API server has
// created the first Job of a communication test and the worker does not know:
// the test goes on with that Job, and none is there at the end.
func TestPromise5TestJobsAreNotLeftBehind(t *testing.T) {
	h := open(t)
	held := h.Gate.Hold(func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/namespaces/"+scenarios.Namespace+"/jobs") && r.URL.Query().Get("dryRun") == ""
	})
	var killer sync.WaitGroup
	killer.Go(func() {
		select {
		case <-held:
		case <-time.After(time.Minute):
			t.Error("no test was begun")
			return
		}
		if err := h.KillWorker(); err != nil {
			t.Error(err)
		}
		if err := h.StartWorker(); err != nil {
			t.Error(err)
		}
	})
	ending := h.play(scene(t, "nccl-policy-denied"), rig.Listener{})
	killer.Wait()
	h.mustEndAsTold(ending)
	test := ending.View.Record.CommTest
	if test == nil || test.Rounds == 0 || len(test.History[0].Outcomes) != 1 || test.History[0].Outcomes[0].Result == "error" {
		t.Errorf("the test did not go on with the Job that was there: %+v", test)
	}
	jobs, err := h.Admin.BatchV1().Jobs(scenarios.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: steps.OwnerLabel})
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs.Items {
		if job.DeletionTimestamp == nil {
			t.Errorf("test job %s is left behind", job.Name)
		}
	}
}
