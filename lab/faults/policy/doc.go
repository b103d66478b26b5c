// Package policy decides whether NetworkPolicies let one connection through,
// the way a network plugin does it for one packet. It is written from the API
// documentation and shares no code with the product's own evaluator: the lab
// would prove nothing if both made the same mistake.
//
// Where the API leaves the answer to the plugin, this one behaves like the
// common ones: pods in the host's network are subject to no policy and match
// no pod selector, only address blocks; a node always reaches its own pods;
// replies on a connection that was let through need no rule.
package policy
