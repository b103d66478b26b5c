package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/incident"
	"gpumedic/steps"
)

// speaker tells people what happens, in order and beside the story: a chat
// that is down delays nobody. The incident has one message, which is
// rewritten, and its thread carries the story.
type speaker struct {
	story *story
	ref   steps.MessageRef
	queue []utterance
	count int
	busy  bool
}

// utterance is a card or a line for the thread.
type utterance struct {
	key     string
	card    *steps.Card
	lines   []string
	mention []string
}

func newSpeaker(s *story) *speaker { return &speaker{story: s} }

// card queues the message's new look.
func (p *speaker) card(ctx workflow.Context, card steps.Card) {
	p.say(ctx, utterance{key: "card", card: &card})
}

// storyLines queues lines for the thread.
func (p *speaker) storyLines(ctx workflow.Context, key string, mention []string, lines ...string) {
	p.say(ctx, utterance{key: key, lines: lines, mention: mention})
}

func (p *speaker) say(ctx workflow.Context, next utterance) {
	if p.story.in.Settings.SlackChannel == "" {
		return
	}
	p.count++
	next.key = fmt.Sprintf("%s/%s/%d", p.story.operationID("say"), next.key, p.count)
	if next.card != nil { // only the newest look matters
		p.queue = slices.DeleteFunc(p.queue, func(u utterance) bool { return u.card != nil })
	}
	p.queue = append(p.queue, next)
	if !p.busy {
		p.busy = true
		last, _ := workflow.NewDisconnectedContext(ctx)
		workflow.Go(last, p.speak)
	}
}

// speak empties the queue, one utterance at a time.
func (p *speaker) speak(ctx workflow.Context) {
	defer func() { p.busy = false }()
	for len(p.queue) > 0 {
		next := p.queue[0]
		p.queue = p.queue[1:]
		if err := p.utter(ctx, next); err != nil {
			p.story.trouble(ctx, "telling people in Slack", err)
			p.keepAsking(ctx, next)
		}
	}
}

// keepAsking says a question again that did not get through, for as long as
// it waits for an answer; anything else that was not heard is in the report.
func (p *speaker) keepAsking(ctx workflow.Context, lost utterance) {
	newer := slices.ContainsFunc(p.queue, func(u utterance) bool { return u.card != nil })
	if lost.card == nil || !lost.card.Asking || newer || p.story.asking == nil {
		return
	}
	if workflow.Sleep(ctx, 10*time.Second) == nil {
		p.queue = append([]utterance{lost}, p.queue...)
	}
}

func (p *speaker) utter(ctx workflow.Context, next utterance) error {
	if next.card != nil {
		result, err := call[steps.PostCardResult](ctx, steps.PostCard, steps.PostCardParams{
			Channel: p.story.in.Settings.SlackChannel, Ref: p.ref, Key: p.story.operationID("card"), Card: *next.card,
		})
		if err == nil {
			p.ref = result.Ref
		}
		return err
	}
	if p.ref.TS == "" {
		return nil // the message itself never got through; the thread has no place
	}
	_, err := call[steps.PostStoryResult](ctx, steps.PostStory, steps.PostStoryParams{
		Ref: p.ref, Key: next.key, Lines: next.lines, Mention: next.mention,
	})
	return err
}

// callApprovers mentions everybody who may vote.
func (p *speaker) callApprovers(ctx workflow.Context, plan incident.Plan) {
	p.storyLines(ctx, "ask", p.approvers(), fmt.Sprintf("Please look at plan %s: %s", plan.Hash, plan.Summary))
}

func (p *speaker) remind(ctx workflow.Context) {
	p.storyLines(ctx, "remind", p.approvers(), "Still waiting for an answer. Without one, nothing is changed.")
}

func (p *speaker) approvers() []string {
	var ids []string
	for _, approver := range p.story.in.Settings.Approval.Approvers {
		if approver.Slack != "" {
			ids = append(ids, approver.Slack)
		}
	}
	return ids
}

// card is what the incident's message shows now.
func (s *story) card(headline string) steps.Card {
	card := steps.Card{
		Incident: s.record.IncidentID, Target: s.record.Target, State: s.state, Headline: headline,
		Votes: s.votes, Simulated: s.record.Simulated, Next: s.record.Next,
	}
	if s.testing != nil {
		card.Progress = s.testing.Progress()
	}
	if len(s.record.Causes) > 0 {
		card.Cause = s.cause()
		card.Evidence = card.Cause.Reasons[:min(5, len(card.Cause.Reasons))]
	}
	if s.asking != nil {
		card.Plan, card.Asking = s.toRead(s.asking), true
		card.Deadline = s.deadline.Format("15:04 MST")
	} else if s.record.Plan != nil {
		card.Plan = s.toRead(s.record.Plan)
	}
	return card
}

// toRead is a plan as people read it, without what only machines do: that names
// every rank's node, and a card is written again and again.
func (s *story) toRead(plan *incident.Plan) *incident.Plan {
	if !s.plansToRead {
		return plan
	}
	short := *plan
	short.Prepare, short.Changes, short.Isolation = nil, nil, nil
	return &short
}

// farewell writes the outcome into the message and waits until it is told.
func (s *story) farewell(ctx workflow.Context) {
	s.state = s.record.Outcome
	s.speaker.card(ctx, s.card(s.record.Summary))
	lines := []string{"Outcome: " + s.record.Outcome + ". " + s.record.Summary}
	if s.record.Next != "" {
		lines = append(lines, "Next: "+s.record.Next)
	}
	s.speaker.storyLines(ctx, "end", nil, lines...)
	// Each utterance is bounded, so this ends; the bound is for a defect.
	_, _ = workflow.AwaitWithTimeout(ctx, farewellBound, func() bool { return !s.speaker.busy })
}
