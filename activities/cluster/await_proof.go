package cluster

import (
	"fmt"
	"time"

	"gpumedic/incident"
)

// What proves a change that cannot be seen to help at once: ranks that are past the
// step at which they used to die, and that wait for input less than before.

// past says whether the rank is beyond the step at which it used to die, as often
// as is wanted. A job that goes on from a checkpoint begins behind it: then the
// distance from there counts.
func (r *rankLog) past(wanted incident.Wanted) bool {
	return wanted.PastStep <= 0 || r.last > r.goal(wanted)
}

func (r *rankLog) goal(wanted incident.Wanted) int {
	distance := wanted.PastStep
	if 0 < r.first && r.first < wanted.PastStep {
		distance -= r.first
	}
	return max(wanted.PastStep, r.first+distance*max(1, wanted.Recurrences))
}

// fed says whether the rank's input keeps up, where that is asked. One that tells
// nothing of it has not shown it.
func (r *rankLog) fed(wanted incident.Wanted) bool {
	return wanted.InputWaitBelow <= 0 || r.waitedLines >= waitsLines && r.waited < wanted.InputWaitBelow
}

// notYet tells of ranks that train and are not where they used to die, or wait for
// input as before.
func (l *lookout) notYet(after time.Duration, running int) bool {
	wanted := l.params.Wanted
	if behind := l.lacking(func(log *rankLog) bool { return log.past(wanted) }); behind > 0 {
		least, goal := l.least()
		l.conclude(incident.Unknown, "after %s all %d ranks train, and %d of them are not yet past step %d (the last one is at step %d)", after, running, behind, goal, least)
		l.unproved = true
		return true
	}
	if mute := l.lacking(func(log *rankLog) bool { return wanted.InputWaitBelow <= 0 || log.waitedLines >= waitsLines }); mute > 0 {
		l.conclude(incident.Unknown, "after %s all %d ranks train, and %d of them have not told how long they wait for input", after, running, mute)
		l.unproved = mute < running
		return true
	}
	if hungry := l.lacking(func(log *rankLog) bool { return log.fed(wanted) }); hungry > 0 {
		l.conclude(incident.No, "after %s %d of %d ranks still wait for input %.0f %% of a step or more", after, hungry, running, 100*wanted.InputWaitBelow)
		return true
	}
	return false
}

// least is the lowest step that a running rank has reached, and what it has to
// reach.
func (l *lookout) least() (step, goal int) {
	for i, rank := range l.running() {
		log := l.seen[rank.Pod]
		if log == nil {
			return 0, l.params.Wanted.PastStep
		}
		if i == 0 || log.last < step {
			step, goal = log.last, log.goal(l.params.Wanted)
		}
	}
	return step, goal
}

func pastWords(wanted incident.Wanted) string {
	text := ""
	if wanted.PastStep > 0 {
		text = fmt.Sprintf(", past step %d at which they died", wanted.PastStep)
		if wanted.Recurrences > 1 {
			text += fmt.Sprintf(", %d times that distance", wanted.Recurrences)
		}
	}
	if wanted.InputWaitBelow > 0 {
		text += fmt.Sprintf(", and wait for input less than %.0f %% of a step", 100*wanted.InputWaitBelow)
	}
	return text
}
