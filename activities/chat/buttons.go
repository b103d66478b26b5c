package chat

import (
	"fmt"

	"github.com/slack-go/slack"

	"gpumedic/incident"
	"gpumedic/steps"
)

// buttons asks for a vote. A card that does not ask has none, so that an old
// question cannot be answered late.
func (d *drawing) buttons() error {
	if !d.card.Asking || d.card.Plan == nil {
		return nil
	}
	value, err := steps.ButtonValue{Incident: d.card.Incident, PlanHash: d.card.Plan.Hash}.Encode()
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "drawing the buttons of %.80s", d.card.Incident)
	}
	approve := button(steps.ButtonApprove, value, "Approve").WithStyle(slack.StylePrimary).WithConfirm(confirmApproval(*d.card.Plan))
	deny := button(steps.ButtonDeny, value, "Deny").WithStyle(slack.StyleDanger)
	d.add(slack.NewActionBlock(d.id("vote"), approve, deny, button(steps.ButtonEvidence, value, "Show evidence")))
	return nil
}

func button(id, value, label string) *slack.ButtonBlockElement {
	return slack.NewButtonBlockElement(id, value, plain(label, maxButtonText))
}

// confirmApproval repeats what is about to happen, so that a thumb on a phone
// changes nothing by accident.
func confirmApproval(p incident.Plan) *slack.ConfirmationBlockObject {
	price := fmt.Sprintf("%s risk, %d pods restart, %.1f GPU-hours lost. Plan %s. ", oneLine(string(p.Risk)), p.PodsRestarted, p.GPUHoursLost, oneLine(p.Hash))
	return slack.NewConfirmationBlockObject(
		plain("Apply this plan?", maxConfirmTitle),
		plain(price+oneLine(p.Summary), maxConfirmText),
		plain("Approve", 30), plain("Not yet", 30),
	)
}
