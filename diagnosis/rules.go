package diagnosis

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// What the cluster's own objects say. Each rule joins one question to one
// cause; what needs more than one question has a function of its own.

// rule is the bearing of one question on one root cause.
type rule struct {
	question string
	cause    string
	// seen and alone are how far a yes proves the cause when the logs show a
	// symptom of it, and when nothing does; failing ranks with mute logs lie
	// between.
	seen, alone float64
	// no is the doubt that a no casts on the cause, 1 for none.
	no float64
	// blames is the kind of what the finding's subject names.
	blames string
	// weight, when set, says how strong this very finding is, 0 to 1.
	weight func(incident.Finding) float64
	// failureCase is what the finding itself shows, "" = what the incident is about.
	failureCase string
	// common: healthy targets have it too, so that without a symptom in the logs
	// failing ranks make it no more likely.
	common bool
}

// unknownDoubt is the doubt that an unanswered question casts on a cause that
// it could have confirmed: less than a no, more than nothing.
const unknownDoubt = 0.9

var rules = []rule{
	{question: incident.PolicyBlocksRanks, cause: "network-unreachable-or-port-blocked",
		seen: 0.85, alone: 0.3, no: 0.9, blames: "policy"},
	{question: incident.PolicyBlocksDNS, cause: "network-unreachable-or-port-blocked",
		seen: 0.75, alone: 0.3, no: 1, blames: "policy"},
	{question: incident.InterfaceMissing, cause: "wrong-socket-interface",
		seen: 0.85, alone: 0.65, no: 0.6, blames: "config"},
	{question: incident.RankDiedFirst, cause: "peer-process-died",
		seen: 0.85, alone: 0.7, no: 0.8, blames: "pod", weight: deathWeight},
	{question: incident.NodeNotReady, cause: "peer-process-died",
		seen: 0.6, alone: 0.4, no: 1, blames: "node"},
	{question: incident.RanksSilent, cause: "rank-straggler-timeout",
		seen: 0.5, alone: 0.25, no: 0.9, blames: "rank"},
	{question: incident.RanksMissing, cause: "rendezvous-or-launcher-unreachable",
		seen: 0.5, alone: 0.3, no: 1, blames: "pod"},
}

// examine asks the cluster's findings.
func examine(f facts, b *board) {
	for _, r := range slices.Concat(rules, memoryRules, dataRules, probeRules) {
		r.apply(f, b)
	}
	rdma(f, b)
	deaths(f, b)
	explainAway(f, b)
}

func (r rule) apply(f facts, b *board) {
	symptom := len(f.hints(r.cause)) > 0
	state := f.state(r.question)
	if state == incident.Yes {
		r.confirm(f, b, symptom)
		return
	}
	c := b.find(r.cause)
	if c == nil || !symptom {
		return
	}
	switch state {
	case incident.No:
		if r.no < 1 {
			c.object(r.no, r.question, "")
		}
	case incident.Unknown:
		c.object(unknownDoubt, r.question, fmt.Sprintf("whether %s could not be asked", words(r.question)))
		c.wonder(checkOf(r.question))
	default: // who looks at the network looks at memory and data only when the cause lies there
		if !f.asked(checkOf(r.question)) && (f.local() || r.failureCase == "" && !r.common) {
			c.wonder(checkOf(r.question))
		}
	}
}

func (r rule) confirm(f facts, b *board, symptom bool) {
	c := b.of(orCase(r.failureCase, f.FailureCase), r.cause)
	if symptom {
		c.say(0, quote(f, f.hints(r.cause)[0]))
	}
	for _, finding := range f.all(r.question) {
		weight := r.alone
		switch {
		case symptom:
			weight = r.seen
		case f.failing() && !r.common: // something is broken, though no line says what
			weight = (r.alone + r.seen) / 2
		}
		if r.weight != nil {
			weight *= r.weight(finding)
		}
		c.speak(cluster, weight, r.question, tell(finding))
		c.seenAs(weight, r.failureCase)
		c.accuse(1+weight, faulted(r, finding))
	}
}

// faulted is what the finding's subject names, or the workload's configuration
// where that is at fault and not what the finding was seen on.
func faulted(r rule, finding incident.Finding) incident.Blamed {
	if r.blames == "" {
		return incident.Blamed{Kind: "config"}
	}
	return incident.Blamed{Kind: r.blames, Names: names(finding)}
}

// tell puts a finding into words, with its evidence.
func tell(finding incident.Finding) string {
	why := strings.TrimSuffix(finding.Why, ".")
	if why == "" {
		why = strings.TrimSpace(words(finding.ID) + ": " + finding.Subject + " " + finding.Value)
	}
	if len(finding.Evidence) > 0 {
		why += " (" + strings.Join(finding.Evidence[:min(3, len(finding.Evidence))], ", ") + ")"
	}
	return why
}

func words(id string) string { return strings.ReplaceAll(id, "-", " ") }

// names reads a finding's subject: "networkpolicy/a,b" names a and b.
func names(finding incident.Finding) []string {
	_, list, ok := strings.Cut(finding.Subject, "/")
	if !ok {
		list = finding.Subject
	}
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		out = add(out, strings.TrimSpace(name))
	}
	return out
}

// deathWeight tells a death by force, which no peer can cause, from an exit that
// is also how a rank ends that ran into somebody else's trouble.
func deathWeight(finding incident.Finding) float64 {
	const byForce, byItself = 1, 0.4
	told := strings.ToLower(finding.Value + " " + finding.Why)
	for _, mark := range []string{"oomkilled", "sigkill", "sigsegv", "sigbus", "evicted", "preempt", "disruption", "nodelost"} {
		if strings.Contains(told, mark) {
			return byForce
		}
	}
	for _, code := range []string{"137", "139", "135"} { // SIGKILL, SIGSEGV, SIGBUS
		if strings.Contains(told, "exit "+code) || strings.Contains(told, "code "+code) {
			return byForce
		}
	}
	return byItself
}

// rankKilled says that some rank died first, and by force.
func rankKilled(f facts) bool {
	for _, finding := range f.all(incident.RankDiedFirst) {
		if deathWeight(finding) == 1 {
			return true
		}
	}
	return false
}

// explainAway lowers what the real cause makes appear: a policy that blocks
// also breaks the rendezvous and kills ranks; a rank that was killed also leaves
// its peers unable to connect.
func explainAway(f facts, b *board) {
	const explained = 0.5
	lower := func(question, why string, causes ...string) {
		for _, cause := range causes {
			if c := b.find(cause); c != nil {
				c.object(explained, question, why)
			}
		}
	}
	network := len(f.hints("network-unreachable-or-port-blocked")) > 0
	switch {
	case f.yes(incident.PolicyBlocksRanks) && network && !rankKilled(f):
		lower(incident.PolicyBlocksRanks, "a policy that blocks the ranks explains this too",
			"rendezvous-or-launcher-unreachable", "peer-process-died", "rank-straggler-timeout", "ib-link-error")
	case f.yes(incident.PolicyBlocksDNS) && network:
		lower(incident.PolicyBlocksDNS, "a policy that blocks DNS explains this too", "rendezvous-or-launcher-unreachable")
	case rankKilled(f) && !f.yes(incident.PolicyBlocksRanks):
		lower(incident.RankDiedFirst, "a rank that was killed explains this too",
			"network-unreachable-or-port-blocked", "rendezvous-or-launcher-unreachable", "rank-straggler-timeout", "ib-link-error")
	}
}
