// Package scenarios holds the incidents that the lab can play: what is put
// into the cluster, which alert fires, who answers how, and how the incident
// must end. A scenario is an entry of the table in table.go and, where it
// differs from the healthy job in base/, a folder of manifests under its name:
// an object that base/ has too is merged into it (a strategic merge patch, so
// that null removes a field), every other object is added.
package scenarios
