package steps

import "gpumedic/incident"

// Names of the notifying steps.
const (
	PostCard  = "post-card"
	PostStory = "post-story"
)

// MessageRef is a posted message; the zero value is "not posted yet".
type MessageRef struct {
	Channel string `json:"channel,omitempty"`
	TS      string `json:"ts,omitempty"`
}

// Card is what the incident's one message shows at this moment.
type Card struct {
	Incident string          `json:"incident"`
	Target   incident.Target `json:"target"`
	// State is investigating, testing, asking, changing, verifying, undoing or
	// an outcome.
	State    string         `json:"state"`
	Headline string         `json:"headline"`
	Cause    incident.Cause `json:"cause"`
	// Evidence lines are the strongest reasons, redacted, at most five.
	Evidence []string `json:"evidence,omitempty"`
	// Plan is without what it prepares, its changes and its isolation: summary, diff and price are shown.
	Plan *incident.Plan `json:"plan,omitempty"`
	// Asking adds the buttons Approve, Deny and Show evidence.
	Asking   bool            `json:"asking,omitempty"`
	Deadline string          `json:"deadline,omitempty"`
	Votes    []incident.Vote `json:"votes,omitempty"`
	Next     string          `json:"next,omitempty"`
	// Progress is how far a running communication test is, one line.
	Progress  string   `json:"progress,omitempty"`
	Simulated []string `json:"simulated,omitempty"`
}

// PostCardParams posts the card, or rewrites Ref when it is set. Key makes a
// repeated attempt find the message that an earlier one posted.
type PostCardParams struct {
	Channel string     `json:"channel"`
	Ref     MessageRef `json:"ref"`
	Key     string     `json:"key"`
	Card    Card       `json:"card"`
}

// PostCardResult is the message.
type PostCardResult struct {
	Ref MessageRef `json:"ref"`
}

// PostStoryParams adds lines to the message's thread. Mention lists Slack
// user ids to call; Key as in PostCardParams.
type PostStoryParams struct {
	Ref     MessageRef `json:"ref"`
	Key     string     `json:"key"`
	Lines   []string   `json:"lines"`
	Mention []string   `json:"mention,omitempty"`
}

// PostStoryResult is the reply.
type PostStoryResult struct {
	Ref MessageRef `json:"ref"`
}
