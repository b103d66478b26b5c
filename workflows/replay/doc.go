// Package replay runs recorded histories against the workflows of this build
// and says where the build would have done otherwise.
//
// The SDK's own replay compares the order and the kind of what a workflow asks
// for. It does not compare what is asked: another input for a step, another
// input for a child, another result pass unseen. This package compares these
// too, because another input is another decision.
package replay
