// Package slack is a stand-in for Slack that runs on this machine. It speaks
// the Web API, Socket Mode and signed interactions to real clients, refuses
// what Slack refuses (tokens, membership, scopes, Block Kit shapes and limits,
// message sizes, other people's messages), can be slow, limited or away on
// demand, and shows its channels as a web page on which a person clicks.
//
// It knows the part of Slack that an incident channel needs. What it does not
// know it refuses by name, so that nothing passes here that was never checked.
package slack
