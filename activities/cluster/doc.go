// Package cluster is the hand that touches a Kubernetes cluster. Its reading
// half finds what an alert is about, keeps logs, events and objects before
// they vanish, and answers the checks D1 to D6, G3, G4, P1 and P3 to P5; its
// changing half plans, snapshots, applies and undoes. Each exported method of
// Hands carries out one step of package steps and may be repeated.
//
// What could not be asked becomes a finding that is unknown, or a gap that is
// named; only what makes the whole step pointless is an error, and that is
// always an incident.Fault with its kind.
package cluster
