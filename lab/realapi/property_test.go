package realapi

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/activities/cluster"
	"gpumedic/incident"
	"gpumedic/steps"
)

// The property suite: what every change step and every remedy keeps to, from
// random starting objects, against a real API server, by hands that may do no
// more than deploy/rbac.yaml says. A remedy, a verb of a change, a kind or a step
// that is not tried fails TestPropertyEverythingThatChangesIsTried.

// propertyCase is one remedy, or one step, and how it is tried.
type propertyCase struct {
	// remedy is planned, with params for what it needs to know.
	remedy string
	params func(p *trial, params *steps.PlanRemedyParams)
	// steps are those that do and undo it; verb is that of its change, "" for a
	// step that makes it without a plan's changes.
	doing, undoing, verb string
	// stops: the ranks are stopped before it, as the workflow does. prepares: what
	// the plan prepares is prepared before that.
	stops, prepares bool
	// object makes a starting object one that the remedy fits.
	object func(random *rand.Rand, job *batchv1.Job)
	// meddle is somebody else's edit of what the change touches; nil when
	// nothing of it outlives the change.
	meddle func(p *trial)
	// state adds to what must be the same before and after.
	state func(p *trial, state map[string]any)
}

// trial is one object on its way there and back.
type trial struct {
	*world
	propertyCase
	random    *rand.Rand
	name      string
	operation string
	workload  incident.EvidenceRef
	plan      incident.Plan
	snapshot  incident.EvidenceRef
}

// TestProperty tries each case. The seed is printed; PROPERTY_SEED repeats it.
func TestProperty(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PROPERTY_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = given
	}
	t.Logf("PROPERTY_SEED=%d", seed)
	for i, c := range propertyCases {
		t.Run(c.remedy+" by "+c.doing, func(t *testing.T) {
			t.Parallel()
			p := &trial{world: newWorld(t), propertyCase: c, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
			t.Cleanup(cancel)
			p.ctx = ctx
			p.deny()
			p.storage()
			p.onceAndBack(1)
			p.onceAndBack(2)
			p.killedAnywhere()
			p.othersAreLeftAlone()
			p.othersComeFirst()
		})
	}
}

// onceAndBack: a dry run changes nothing, twice is once, undone is as before.
func (p *trial) onceAndBack(number int) {
	p.begin(fmt.Sprintf("once-%d", number))
	before := p.state()
	p.planned()
	p.stop()
	p.must(p.perform(p.hands, p.doing))
	after := p.state()
	p.same(before, after, false, "the change changes nothing")
	p.must(p.perform(p.hands, p.doing))
	p.same(after, p.state(), true, "applied twice")
	p.must(p.perform(p.hands, p.undoing))
	p.must(p.perform(p.hands, p.undoing))
	p.start()
	p.same(p.back(before, after), p.state(), true, "applied and undone")
	p.end()
}

// back is the state after the undo: as before, but where nothing comes back.
func (p *trial) back(before, after map[string]any) map[string]any {
	if p.meddle == nil {
		return after
	}
	return before
}

// killedAnywhere: the hand dies at its n-th write, before it or after, on the
// way there and on the way back, for every n there is.
func (p *trial) killedAnywhere() {
	p.begin("killed")
	before := p.state()
	var after map[string]any
	for n := 1; ; n++ {
		died := false
		for _, lost := range []bool{false, true} {
			p.operation = fmt.Sprintf("%s@%d%t/%s", incidentID, n, lost, p.remedy)
			p.planned()
			p.stop()
			there := p.kill(n, lost, p.doing)
			p.must(p.perform(p.hands, p.doing))
			if after == nil {
				after = p.state()
			}
			p.same(after, p.state(), true, "killed at write %d (written: %t) and tried again", n, lost)
			back := p.kill(n, lost, p.undoing)
			p.must(p.perform(p.hands, p.undoing))
			p.start()
			p.same(p.back(before, after), p.state(), true, "killed in the undo at write %d (written: %t) and tried again", n, lost)
			died = died || there || back
		}
		if !died {
			break
		}
		if p.meddle == nil {
			break // what it changes does not come back, so the next attempt has another start
		}
	}
	p.unfinishedIsUndone(before)
	p.end()
}

// unfinishedIsUndone: a change that died on its way and is never tried again is
// taken back from wherever it was.
func (p *trial) unfinishedIsUndone(before map[string]any) {
	if p.meddle == nil {
		return
	}
	for n := 1; ; n++ {
		died := false
		for _, lost := range []bool{false, true} {
			p.operation = fmt.Sprintf("%s@1%d%t/%s", incidentID, n, lost, p.remedy)
			p.planned()
			p.stop()
			died = p.kill(n, lost, p.doing) || died
			p.must(p.perform(p.hands, p.undoing))
			p.start()
			p.same(before, p.state(), true, "killed at write %d (written: %t) and undone", n, lost)
		}
		if !died {
			return
		}
	}
}

// othersAreLeftAlone: what somebody else did in between stays, and is told.
func (p *trial) othersAreLeftAlone() {
	if p.meddle == nil {
		return
	}
	p.begin("others")
	p.planned()
	p.stop()
	p.must(p.perform(p.hands, p.doing))
	p.meddle(p)
	theirs := p.state()
	err := p.perform(p.hands, p.undoing)
	if err == nil {
		p.Errorf("%s: the undo over somebody else's edit says nothing", p.remedy)
	}
	p.same(theirs, p.state(), true, "undone over somebody else's edit (%v)", err)
	if err := p.perform(p.hands, p.doing); err == nil {
		p.Errorf("%s: applied again over somebody else's edit", p.remedy)
	}
	p.same(theirs, p.state(), true, "applied over somebody else's edit")
	p.end()
}

// othersComeFirst: an object that somebody made anew, or deleted, between plan
// and change is not the one that was meant.
func (p *trial) othersComeFirst() {
	if p.plan.Changes[0].Verb != "replace" || p.doing != steps.ApplyChange {
		return // tried in tests of their own
	}
	p.begin("first")
	p.planned()
	p.stop()
	anew(func(job *batchv1.Job) { setEnv(job, "THEIRS", "1") })(p)
	theirs := p.state()
	wantKind(p.T, p.perform(p.hands, p.doing), incident.Conflict, "created anew")
	p.must(p.perform(p.hands, p.undoing))
	p.same(map[string]any{"job": theirs["job"]}, p.state(), true, "applied and undone over what somebody made anew")
	p.end()
	wantKind(p.T, p.perform(p.hands, p.doing), incident.Missing, "gone")
	if err := p.perform(p.hands, p.undoing); err == nil || !strings.Contains(err.Error(), "gone") {
		p.Errorf("undoing what somebody deleted: %v", err)
	}
	p.pods(p.name, 0)
	if _, err := p.admin.BatchV1().Jobs(p.namespace).Get(p.ctx, p.name, metav1.GetOptions{}); err == nil {
		p.Errorf("%s brought back what somebody deleted", p.remedy)
	}
}

// begin makes the starting object.
func (p *trial) begin(name string) {
	p.name, p.operation, p.plan = name, incidentID+"@"+name+"/"+p.remedy, incident.Plan{}
	job := p.trainingJobWith(name, func(job *batchv1.Job) {
		randomJob(p.random, job)
		if p.object != nil {
			p.object(p.random, job)
		}
	})
	p.workload = p.world.workload(job)
}

// end makes room for the next one.
func (p *trial) end() {
	background := metav1.DeletePropagationBackground
	p.must(p.admin.BatchV1().Jobs(p.namespace).Delete(p.ctx, p.name, metav1.DeleteOptions{PropagationPolicy: &background}))
	p.pods(p.name, 0)
	p.clear()
}

// planned plans the remedy by hands that are dead at the first write that is no
// dry run, and finds everything as it was.
func (p *trial) planned() {
	p.Helper()
	p.until("the ranks run", func() bool {
		found, err := p.hands.ResolveTarget(p.ctx, steps.ResolveTargetParams{Incident: incidentID, Hint: p.target(p.name), Fabric: fabric})
		p.must(err)
		p.workload = found.Workload
		return slices.Equal(found.Summary.Phases, []incident.Count{{Name: "Running", Count: found.Summary.WantedRanks}})
	})
	live, err := p.admin.BatchV1().Jobs(p.namespace).Get(p.ctx, p.name, metav1.GetOptions{})
	p.must(err)
	params := steps.PlanRemedyParams{Incident: incidentID, Remedy: p.remedy, Risk: incident.RiskMedium, Workload: p.workload, Fabric: fabric, TestJobs: []string{"test-a"}}
	if p.params != nil {
		p.params(p, &params)
	}
	hands, knife := p.handsWithKnife(p.ctx, 1, false, func() {})
	result, err := hands.PlanRemedy(p.ctx, params)
	p.must(err)
	if !result.Possible {
		p.Fatalf("no plan: %s", result.WhyNot)
	}
	again, err := p.admin.BatchV1().Jobs(p.namespace).Get(p.ctx, p.name, metav1.GetOptions{})
	p.must(err)
	if knife.dead() || result.Plan.Diff == "" || live.UID != again.UID || live.Generation != again.Generation {
		p.Errorf("planning %s wrote something, or has no diff", p.remedy)
	}
	p.plan = result.Plan
	if strings.Contains(p.plan.Summary, "PodDisruptionBudget") { // there is none, and the worker may ask
		p.Errorf("%s: %s", p.remedy, p.plan.Summary)
	}
	if p.verb != "" && p.does().Verb != p.verb {
		p.Errorf("%s: verb %s, want %s", p.remedy, p.does().Verb, p.verb)
	}
	p.snapshot = p.world.snapshot(p.plan)
	text, err := json.Marshal(p.plan)
	p.must(err)
	if strings.Contains(string(text), secret) || p.store.leaks(secret) {
		p.Errorf("a secret of the job's environment is in the plan of %s, or in its evidence", p.remedy)
	}
}

// does is the change that the step under trial is about: the first, or the last
// thing that is prepared.
func (p *trial) does() incident.ObjectChange {
	if p.doing == steps.PrepareChange {
		return p.plan.Prepare[len(p.plan.Prepare)-1]
	}
	return p.plan.Changes[0]
}

func (p *trial) stop() {
	if p.prepares {
		p.must(p.perform(p.hands, steps.PrepareChange))
	}
	if p.stops {
		_, err := p.hands.SuspendWorkload(p.ctx, p.ranks(p.plan))
		p.must(err)
	}
}

func (p *trial) start() {
	p.Helper()
	if p.stops {
		_, err := p.hands.ResumeWorkload(p.ctx, p.ranks(p.plan))
		p.must(err)
	}
}

// perform carries out a step of the case; an undo that is not complete is an
// error here.
func (p *trial) perform(hands *cluster.Hands, step string) error {
	return p.performWith(p.ctx, hands, step)
}

func (p *trial) performWith(ctx context.Context, hands *cluster.Hands, step string) error {
	var err error
	switch step {
	case steps.ApplyChange:
		_, err = hands.ApplyChange(ctx, steps.ApplyChangeParams{Incident: incidentID, OperationID: p.operation, Plan: p.plan, Snapshot: p.snapshot})
	case steps.PrepareChange:
		_, err = hands.PrepareChange(ctx, steps.ApplyChangeParams{Incident: incidentID, OperationID: p.operation, Plan: p.plan, Snapshot: p.snapshot})
	case steps.UndoChange:
		var result steps.UndoChangeResult
		result, err = hands.UndoChange(ctx, steps.UndoChangeParams{Incident: incidentID, OperationID: p.operation, Plan: p.plan, Snapshot: p.snapshot})
		if err == nil && (!result.Complete || len(result.Found) > 0) {
			err = fmt.Errorf("found %v", result.Found)
		}
	case steps.SuspendWorkload:
		_, err = hands.SuspendWorkload(ctx, p.ranks(p.plan))
	case steps.ResumeWorkload:
		_, err = hands.ResumeWorkload(ctx, p.ranks(p.plan))
	}
	return err
}

// kill performs a step by a hand that dies at its n-th write; false when it
// lived to the end.
func (p *trial) kill(n int, lost bool, step string) bool {
	p.Helper()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	hands, knife := p.handsWithKnife(ctx, n, lost, cancel)
	err := p.performWith(ctx, hands, step)
	if !knife.dead() && err != nil {
		p.Fatalf("%s by a hand that was not killed: %v", step, err)
	}
	return knife.dead()
}

func (p *trial) same(want, got map[string]any, same bool, format string, args ...any) {
	p.Helper()
	diff := cmp.Diff(want, got)
	if (diff == "") != same {
		p.Fatalf("%s, %s:\n%s", p.remedy, fmt.Sprintf(format, args...), diff)
	}
}
