// Package workflows holds the deterministic order of things: the incident, the
// story of each failure case, the communication test, the approval and the
// change saga. It decides nothing by itself and touches nothing: decisions
// come from the pure packages, effects from steps carried out by activities.
//
// Time, chance and facts enter only as workflow input, activity results and
// Temporal's own clock, so that a recorded history replays to the same
// decisions.
package workflows
