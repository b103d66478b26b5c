package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// sure is the confidence from which on a cause is called by its name; under it
// the answer is "unknown" with the leads behind.
const sure = 0.5

// Diagnose ranks the causes of what was found, best first, never none. It is
// pure and deterministic: the same input gives the same answer, in a workflow
// too. A question that was not answered is never taken for a no.
func Diagnose(in Input) []incident.Cause {
	f := gather(in)
	b := weigh(f)
	causes := b.ranked()
	switch {
	case len(causes) > 0 && causes[0].Confidence >= sure:
		return causes
	case f.working() && len(f.symptoms) == 0 && !f.slow():
		return lead(healthy(f), causes)
	default:
		return lead(open(f, causes), causes)
	}
}

// weigh lets every kind of evidence speak.
func weigh(f facts) *board {
	b := &board{}
	listen(f, b)
	examine(f, b)
	probe(f, b)
	if f.working() {
		forgive(f, b)
	}
	return b
}

// forgive lowers what would have stopped a job that is seen to go on; being slow
// it may be all the same, and what a test proved stays proved.
func forgive(f facts, b *board) {
	for _, c := range b.candidates {
		if !f.lasts(c) && c.blame < proved {
			c.object(0.5, incident.TrainingProgress, "no rank fails and every rank logs steps")
		}
	}
}

// lasts says that a job which goes on may have the cause all the same: it only
// slows down, or it kills the job at a step that is not yet reached again.
func (f facts) lasts(c *candidate) bool {
	return c.rootCause == rdmaCause || c.rootCause == inputCause ||
		f.FailureCase == memoryCase && c.failureCase == memoryCase
}

// local says that the network has no part in what the incident is about.
func (f facts) local() bool {
	return slices.Contains([]string{memoryCase, dataCase, idleCase}, f.FailureCase)
}

// slow says that the incident is about a job that gets on too slowly, and nothing
// shows that it does not: steps alone are no sign of health then.
func (f facts) slow() bool {
	about := f.FailureCase == dataCase || f.FailureCase == idleCase
	return about && f.state(incident.InputWaits) != incident.No && f.state(incident.GPUsIdle) != incident.No
}

// lead puts the answer before the leads, without a second unknown among them.
func lead(answer incident.Cause, leads []incident.Cause) []incident.Cause {
	out := []incident.Cause{answer}
	for _, cause := range leads {
		if cause.RootCause != answer.RootCause || cause.FailureCase != answer.FailureCase {
			out = append(out, cause)
		}
	}
	return out
}

// healthy is the answer for a target with nothing wrong: two checks said so, and
// each one that could not takes some of the certainty.
func healthy(f facts) incident.Cause {
	answer := incident.Cause{FailureCase: incident.NoneOfThese, Confidence: 0.9,
		For: []string{incident.RanksFailing, incident.TrainingProgress},
		Reasons: []string{
			sentence("no rank fails, and every rank logs steps"),
			sentence("no log holds an error that is known to matter"),
		}}
	for _, question := range []string{incident.RanksMissing, incident.WorkloadFailed, incident.PolicyBlocksRanks, incident.TransportUsed} {
		if state := f.state(question); state == incident.Unknown || state == notAsked {
			answer.Confidence *= unknownDoubt
			answer.Against = add(answer.Against, question)
			answer.WouldDecide = add(answer.WouldDecide, checkOf(question))
		}
	}
	odd := []string{incident.PolicyBlocksRanks, incident.RanksScattered}
	if f.yes(incident.RDMAOffered) {
		odd = append(odd, incident.RDMANotRequested)
	}
	for _, question := range odd {
		for _, finding := range f.all(question) {
			answer.Confidence *= unknownDoubt
			answer.Against = add(answer.Against, question)
			answer.Reasons = add(answer.Reasons, sentence("yet "+tell(finding)))
		}
	}
	if f.CommTest != nil && f.CommTest.Verdict.Clean {
		answer.For = append(answer.For, commTest)
		answer.Reasons = append(answer.Reasons, sentence("a communication test between its nodes passed"+bandwidth(f.CommTest)))
	}
	answer.Confidence = round(answer.Confidence)
	return answer
}

// open is the answer when something is wrong, or may be, and nothing decides.
func open(f facts, leads []incident.Cause) incident.Cause {
	answer := incident.Cause{FailureCase: f.FailureCase, RootCause: incident.UnknownCause}
	switch {
	case f.failing():
		answer.Confidence = 0.9
		answer.Reasons = append(answer.Reasons, "Ranks fail, are missing or were killed, and nothing found so far tells why.")
	case len(f.symptoms) > 0:
		answer.Confidence = 0.7
		answer.Reasons = append(answer.Reasons, "The logs show errors that can have several causes.")
	case f.working() && f.slow():
		answer.Confidence = 0.4
		answer.Reasons = append(answer.Reasons, "Every rank logs steps. Whether they wait for input is not told: no line prints it, and no metric shows whether the GPUs are busy.")
	default:
		answer.Confidence = 0.4
		answer.Reasons = append(answer.Reasons, "Nothing wrong was found, and that nothing is wrong could not be shown either.")
	}
	if first, told := firstOrigin(f); told { // what happened is known, not why
		answer.FailureCase = first.FailureCase
		answer.Reasons = append(answer.Reasons, sentence(quote(f, first)))
	}
	if lead, found := bestLead(answer.FailureCase, leads); found {
		answer.FailureCase = orCase(answer.FailureCase, lead.FailureCase)
		if !f.local() || lead.Confidence >= faintLead {
			answer.Blamed = lead.Blamed
		}
		answer.Reasons = append(answer.Reasons, fmt.Sprintf("The best lead is %s (%.2f).", lead.RootCause, lead.Confidence))
	}
	suspectSilent(f, &answer)
	answer.For = speakers(f)
	answer.Against, answer.WouldDecide = missing(f, leads)
	return answer
}

// faintLead is the confidence under which a lead about memory or data blames nobody:
// what healthy jobs have too, a missing cache or a small /dev/shm, is one already.
const faintLead = 0.3

// bestLead is the first lead of the failure case, the first of all without one.
// Who is blamed comes from another lead when it names nobody.
func bestLead(failureCase string, leads []incident.Cause) (incident.Cause, bool) {
	if len(leads) == 0 {
		return incident.Cause{}, false
	}
	best := leads[0]
	for _, lead := range leads {
		if lead.FailureCase == failureCase {
			best = lead
			break
		}
	}
	if len(best.Blamed.Names) == 0 {
		best.Blamed = leads[0].Blamed
	}
	return best, true
}

// suspectSilent: a rank that never spoke is a suspect, not healthy.
func suspectSilent(f facts, answer *incident.Cause) {
	for _, finding := range f.all(incident.RanksSilent) {
		answer.Blamed = incident.Blamed{Kind: "rank", Names: names(finding)}
		answer.Reasons = append(answer.Reasons, sentence(tell(finding)))
	}
}

// speakers lists the findings and symptoms that say something is wrong.
func speakers(f facts) []string {
	var out []string
	for _, question := range []string{incident.RanksFailing, incident.WorkloadFailed, incident.RankDiedFirst, incident.RanksMissing, incident.NodeNotReady} {
		if f.yes(question) {
			out = add(out, question)
		}
	}
	for _, o := range f.symptoms {
		out = add(out, o.Signature)
	}
	return out
}

// missing lists the questions that were put in vain and the checks that would
// decide: those, those of the leads, and the communication test.
func missing(f facts, leads []incident.Cause) (against, decide []string) {
	for _, cause := range leads {
		for _, check := range cause.WouldDecide {
			decide = add(decide, check)
		}
	}
	for _, finding := range f.Findings {
		if finding.State != incident.Unknown {
			continue
		}
		against = add(against, finding.ID)
		if check := checkOf(finding.ID); check != "" {
			decide = add(decide, check)
		} else if strings.HasPrefix(finding.ID, "check-") {
			decide = add(decide, finding.ID)
		}
	}
	for _, question := range []string{incident.RanksFailing, incident.PolicyBlocksRanks, incident.TransportUsed} {
		if f.state(question) == notAsked {
			decide = add(decide, checkOf(question))
		}
	}
	if !f.local() && (f.CommTest == nil || f.CommTest.Verdict.Inconclusive) {
		decide = add(decide, commTest)
	}
	return against, decide
}
