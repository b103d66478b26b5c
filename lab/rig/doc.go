// Package rig puts the lab together on one machine and plays scenarios in it:
// a real control plane with simulated nodes, Temporal with its UI, the Slack
// stand-in, and gpumedic's own two programs as child processes, the worker
// under exactly the roles of deploy/.
package rig
