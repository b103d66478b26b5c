package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/runbooks"
)

// A symptom is not a cause: an NCCL error is often one rank that ran out of
// memory, GPUs that do little are often a starved loader. Then the incident goes on
// with the other failure case's runbook: the same incident, the same bundle, and
// what was asked is not asked again.

// handsOver tells the rest of the story by the runbook of the failure case that
// the cause belongs to, and says whether it did. It happens once in an incident, so
// that two cases never hand it to and fro.
func (s *story) handsOver(ctx workflow.Context) bool {
	book, ok := s.otherBook()
	if !ok || ctx.Err() != nil || !knows(ctx, handOverInside) {
		return false
	}
	best := s.cause()
	s.decide(ctx, "hand over", incident.Allow,
		fmt.Sprintf("the cause found belongs to %s: %s (confidence %.2f)", best.FailureCase, orNone(best.RootCause), best.Confidence),
		fmt.Sprintf("the incident goes on with runbook %s instead of %s", book.Name, s.book.Name))
	s.handedFrom = s.book.Name
	s.follow(book)
	s.speaker.card(ctx, s.card("The cause lies elsewhere: going on with the runbook "+book.Name+"."))
	s.storyOf(book.Name)(ctx)
	return true
}

// otherBook is the runbook to go on with; none when the one at hand names the
// cause itself, or nothing is wrong.
func (s *story) otherBook() (runbooks.Runbook, bool) {
	best := s.cause()
	if s.handedFrom != "" || s.names(best.RootCause) || best.FailureCase == s.book.Name {
		return runbooks.Runbook{}, false
	}
	at := slices.IndexFunc(s.in.Runbooks, func(b runbooks.Runbook) bool { return b.Name == best.FailureCase })
	if at < 0 {
		return runbooks.Runbook{}, false
	}
	return s.in.Runbooks[at], true
}

// follow makes a runbook the one that the incident is told by.
func (s *story) follow(book runbooks.Runbook) {
	s.book = book
	s.record.FailureCase = book.Name
	s.record.Runbook = incident.RunbookRef{Name: book.Name, SHA256: book.SHA256}
}

// unasked are the runbook's checks that were not carried out before.
func (s *story) unasked() []string {
	return slices.DeleteFunc(slices.Clone(s.book.Checks), func(name string) bool { return slices.Contains(s.asked, name) })
}
