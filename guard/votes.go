package guard

import (
	"fmt"
	"slices"

	"gpumedic/incident"
)

// Quorum is how many different people must agree to a risk; at least one.
func Quorum(settings incident.ApprovalSettings, risk incident.Risk) int {
	return max(1, settings.Quorum[risk])
}

// Authorised says whether a vote is cast by somebody who may vote. By is the
// approver's name as resolved by the door the vote came through.
func Authorised(settings incident.ApprovalSettings, vote incident.Vote) (bool, string) {
	if vote.Verdict != incident.Approve && vote.Verdict != incident.Deny {
		return false, fmt.Sprintf("%q is neither approve nor deny", vote.Verdict)
	}
	if person(settings, vote.By) >= 0 {
		return true, ""
	}
	return false, fmt.Sprintf("%q is not an approver; approvers are listed in the configuration", vote.By)
}

// Tally counts votes on exactly this plan: one no ends it, one person counts
// once, votes for another plan do not count.
func Tally(settings incident.ApprovalSettings, plan incident.Plan, votes []incident.Vote) string {
	agreed := map[int]bool{}
	for _, vote := range votes {
		if ok, _ := Authorised(settings, vote); !ok || plan.Hash == "" || vote.PlanHash != plan.Hash {
			continue
		}
		if vote.Verdict == incident.Deny {
			return incident.Refuse
		}
		agreed[person(settings, vote.By)] = true
	}
	if len(agreed) >= Quorum(settings, plan.Risk) {
		return incident.Allow
	}
	return incident.Ask
}

// person makes one person of a name, a login and a Slack id: the approver's
// place in the settings, -1 for anybody else.
func person(settings incident.ApprovalSettings, by string) int {
	return slices.IndexFunc(settings.Approvers, func(a incident.Approver) bool {
		return by != "" && (by == a.Name || by == a.Login || by == a.Slack)
	})
}
