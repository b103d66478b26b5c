// Package e2e holds the end-to-end tests: every scenario of the lab, and what
// happens when a process dies or a neighbour is away in the middle of one.
package e2e
