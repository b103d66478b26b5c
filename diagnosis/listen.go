package diagnosis

import (
	"fmt"
	"strings"
	"time"

	"gpumedic/incident"
)

// What the logs say, before anything else is asked.

const (
	// secondCause is how much of a line's weight goes to each next cause it may
	// have, of what the one before got.
	secondCause = 0.5
	// echoAside is what is left of an echo when somebody told the origin.
	echoAside = 0.4
	// laterOrigin is what is left of an origin after another, earlier one.
	laterOrigin = 0.8
	// together: origins within this time of each other are the same moment,
	// since clocks of nodes differ.
	together = time.Second
	// tellingOrigin is the weight from which on an origin sets echoes aside;
	// plainCase is that of a line that shows another failure case than the echoes'
	// beyond doubt, though not why (memory ran out: for one reason or another).
	tellingOrigin = 0.5
	plainCase     = 0.4
)

// listen weighs the lines of the logs.
func listen(f facts, b *board) {
	first, told := firstOrigin(f)
	for _, o := range f.symptoms {
		factor := 1.0
		switch {
		case !told:
		case o.Role == RoleEcho:
			factor = echoAside
		case later(o, first):
			factor = laterOrigin
		}
		hear(b, f, o, factor)
	}
	for _, o := range f.context {
		overhear(f, b, o)
	}
	differences(f, b)
	absent(f, b)
}

// firstOrigin is the earliest origin that tells enough to set echoes aside.
func firstOrigin(f facts) (incident.Observation, bool) {
	for _, o := range f.symptoms {
		if o.Role == RoleOrigin && (o.Weight >= tellingOrigin || o.Weight >= plainCase && o.FailureCase != communication) {
			return o, true
		}
	}
	return incident.Observation{}, false
}

const stragglerCause = "rank-straggler-timeout"

// communication is the failure case that every dying rank of a job seems to have,
// whatever it dies of.
const communication = "nccl-failure"

// later says that o came clearly after first and has another cause.
func later(o, first incident.Observation) bool {
	if o.FirstAt.IsZero() || first.FirstAt.IsZero() || len(o.Causes) == 0 || o.Causes[0] == first.Causes[0] {
		return false
	}
	return o.FirstAt.Sub(first.FirstAt) > together
}

// hear gives a symptom's weight to the causes it may have.
func hear(b *board, f facts, o incident.Observation, factor float64) {
	weight := o.Weight * factor
	for i, cause := range o.Causes {
		c := b.of(orCase(o.FailureCase, f.FailureCase), cause)
		why := ""
		if i == 0 {
			why = quote(f, o)
		}
		c.speak(text, weight, o.Signature, why)
		c.seenAs(weight, o.FailureCase)
		c.accuse(weight, blamedByText(f, cause, o))
		weight *= secondCause
	}
}

// overhear lends a context line's weight to a cause that a symptom spoke of:
// alone it proves nothing, since healthy jobs print it too.
func overhear(f facts, b *board, o incident.Observation) {
	for _, cause := range o.Causes {
		if len(f.hints(cause)) == 0 {
			continue
		}
		b.of(orCase(o.FailureCase, f.FailureCase), cause).speak(text, o.Weight, o.Signature, quote(f, o))
	}
}

// differences: ranks that wait in different collectives wait for each other
// for ever, whoever came late.
func differences(f facts, b *board) {
	const weight = 0.75
	o, seen := f.observed(signatureWatchdog)
	if !seen || len(o.Differs) == 0 {
		return
	}
	why := fmt.Sprintf("the ranks wait in different collectives (%s differ): they do not follow the same order (%s)",
		strings.Join(o.Differs, ", "), o.Evidence)
	b.of(orCase(o.FailureCase, f.FailureCase), "collective-mismatch-or-uneven-work").speak(text, weight, o.Signature, why)
	if c := b.find(stragglerCause); c != nil {
		c.object(0.5, o.Signature, "")
	}
}

// quote says who wrote what, where.
func quote(f facts, o incident.Observation) string {
	meaning := orCase(o.Meaning, o.Signature)
	if f.Texts == 1 && f.Ranks <= 1 && o.Ranks == "0" { // a lone text, whose it is nobody says
		return fmt.Sprintf("%s (%s)", meaning, placeInText(o))
	}
	who := "rank " + o.Ranks
	switch {
	case f.Ranks > 1 && o.RankCount == f.Ranks:
		who = fmt.Sprintf("all %d ranks", f.Ranks)
	case o.RankCount > 1:
		who = fmt.Sprintf("%d ranks (%s)", o.RankCount, o.Ranks)
	}
	first, where := "", o.Evidence
	if o.RankCount > 1 {
		first = fmt.Sprintf("first rank %d, ", o.FirstRank)
	}
	if f.Texts > 0 {
		where = placeInText(o)
	}
	return fmt.Sprintf("%s said: %s (%s%s)", who, meaning, first, where)
}

// textName stands for the one text that has no name.
const textName = "text"

// placeInText writes "line 17", or "rank-1.log:17" where there are several texts.
func placeInText(o incident.Observation) string {
	name, line, _ := strings.Cut(o.Evidence, "#L")
	if name == textName {
		return "line " + line
	}
	return name + ":" + line
}

// absent: where most ranks report that a collective was not finished, those that
// report nothing of the kind are the ones that did not take part.
func absent(f facts, b *board) {
	const weight = 0.6
	o, seen := f.observed(signatureWatchdog)
	c := b.find(stragglerCause)
	if !seen || c == nil || f.Ranks < 3 || o.RankCount >= f.Ranks || 2*o.RankCount <= f.Ranks {
		return
	}
	ranks := f.Spoke
	for rank := range f.Ranks {
		if f.Spoke == nil {
			ranks = append(ranks, rank)
		}
	}
	var missing []int
	waiting := inRanges(o.Ranks)
	for _, rank := range ranks {
		if !waiting[rank] {
			missing = append(missing, rank)
		}
	}
	who := incident.Ranges(missing)
	c.speak(text, weight, o.Signature, fmt.Sprintf("rank %s logged no time-out of its own, all the others waited", who))
	c.accuse(weight, incident.Blamed{Kind: "rank", Names: strings.Split(who, ",")})
}

// RankIn says whether a list of ranks, "0-3,7", holds a rank.
func RankIn(list string, rank int) bool { return inRanges(list)[rank] }

// inRanges is the set of ranksIn.
func inRanges(list string) map[int]bool {
	out := map[int]bool{}
	for _, rank := range ranksIn(list) {
		out[rank] = true
	}
	return out
}

func orCase(own, fallback string) string {
	if own == "" {
		return fallback
	}
	return own
}
