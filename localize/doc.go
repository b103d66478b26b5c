// Package localize finds out who is bad by testing groups of nodes: node,
// link, switch, everything that crosses nodes, or nobody. It is pure and
// deterministic: Next reads the rounds that were run and answers with the next
// round's groups or with the verdict.
//
// # How it thinks
//
// An explanation is a small set of bad parts (part.go): a node, the link between
// two nodes, the uplink of a domain or its switch, the infrastructure; each hard
// (it breaks every test), slow or flaky (it breaks some). An explanation says
// how likely each outcome was, and every test may err besides: how often healthy
// groups fail is not known and weighed along. A test that could not be run says
// nothing.
//
// There are far too many explanations to list. A chain (chain.go) walks over
// them and stays at each in proportion to how likely it is, so that the ones it
// meets are a fair sample: that is the belief (belief.go). The same tests give
// the same belief, since the chain's random numbers are always the same ones.
//
// The next round is, among a family of sensible ones (rounds.go: suspects cut
// into groups of equal belief, leafs, pairs with proven partners, halves for
// links, ...), the one whose outcomes are expected to tell most for its price
// (gain.go): a round has its time, every test is a Job, every node GPUs.
//
// # When it speaks
//
// A part is named when it is all but certain and nothing else is likely
// (verdict.go gives the numbers). Belief alone does not accuse: a node must have
// failed in different company that passed elsewhere, once more if it has passed
// too; a link must have failed alone; infrastructure only when pairs fail
// wherever they are taken from. All nodes are clean when each has passed three
// times. What no test can tell apart (the uplinks of a fabric with only two
// leafs) ends inconclusive, and so does an exhausted budget; then the verdict
// says between what. Package simulate measures how often all this is right.
package localize
