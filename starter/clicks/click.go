package clicks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/slack-go/slack"

	"gpumedic/steps"
)

// Action is what a button of the card asks for.
type Action string

// The closed set of actions.
const (
	Approve  Action = "approve"
	Deny     Action = "deny"
	Evidence Action = "evidence"
)

var actions = map[string]Action{
	steps.ButtonApprove: Approve, steps.ButtonDeny: Deny, steps.ButtonEvidence: Evidence,
}

// Click is one press of one button. UserID is the proof of who pressed it;
// Incident and PlanHash are what the button claims and must be checked against
// the incident.
type Click struct {
	// ID is the same however often this press is delivered.
	ID        string
	UserID    string
	TeamID    string
	AppID     string
	Channel   string
	MessageTS string
	Action    Action
	Incident  string
	PlanHash  string
}

// errNotOurs marks an interaction that has nothing to do with a card. It is
// acknowledged and otherwise ignored.
var errNotOurs = errors.New("not a button of a card")

var (
	slackID   = regexp.MustCompile(`^[A-Z][A-Z0-9]{1,24}$`)
	messageTS = regexp.MustCompile(`^[0-9]{1,12}\.[0-9]{1,9}$`)
)

// parse reads a click out of an interaction. Everything in it came from
// outside.
func parse(in slack.InteractionCallback) (Click, error) {
	if in.Type != slack.InteractionTypeBlockActions || len(in.ActionCallback.BlockActions) != 1 {
		return Click{}, errNotOurs
	}
	pressed := in.ActionCallback.BlockActions[0]
	action, known := actions[pressed.ActionID]
	if !known || pressed.Type != "button" {
		return Click{}, errNotOurs
	}
	value, err := steps.ParseButtonValue(pressed.Value)
	if err != nil {
		return Click{}, err
	}
	click := Click{
		UserID: in.User.ID, TeamID: in.Team.ID, AppID: in.APIAppID,
		Channel: in.Container.ChannelID, MessageTS: in.Container.MessageTs,
		Action: action, Incident: value.Incident, PlanHash: value.PlanHash,
	}
	click.ID = deliveryID(click, pressed.ActionTs)
	return click, check(click, in)
}

// check refuses ids that cannot be ids, and people of other workspaces who
// share the channel.
func check(c Click, in slack.InteractionCallback) error {
	ids := []struct{ name, value string }{{"user", c.UserID}, {"team", c.TeamID}, {"app", c.AppID}, {"channel", c.Channel}}
	for _, id := range ids {
		if !slackID.MatchString(id.value) {
			return fmt.Errorf("reading a click: %s id %.40q is not one", id.name, id.value)
		}
	}
	if !messageTS.MatchString(c.MessageTS) {
		return fmt.Errorf("reading a click: message id %.40q is not one", c.MessageTS)
	}
	if in.User.TeamID != "" && in.User.TeamID != c.TeamID {
		return fmt.Errorf("reading a click: user %s belongs to workspace %.40q, not to %s", c.UserID, in.User.TeamID, c.TeamID)
	}
	return nil
}

func deliveryID(c Click, pressedAt string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{c.TeamID, c.UserID, c.Channel, c.MessageTS, string(c.Action), pressedAt}, "\x00")))
	return "slack-" + hex.EncodeToString(sum[:8])
}
