// Package governor has the hands by which incidents ask the governor of their
// cluster for leave. The governor is a workflow; these steps are its clients.
package governor
