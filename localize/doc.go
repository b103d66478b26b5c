// Package localize finds out who is bad by testing groups of nodes: node,
// link, switch, everything that crosses nodes, or nobody. It is pure and
// deterministic: Next reads the rounds that were run and answers with the next
// round's groups or with the verdict.
//
// # How it thinks
//
// An explanation is a small set of bad parts, and predicts which groups fail:
// a bad node fails every group it is in; a bad link every group that holds
// both its ends (surely only in a pair: a larger group may go around it); a bad
// uplink every group that has nodes on both its sides; a dead switch every
// group that needs one of its nodes; bad infrastructure every group of two
// or more. Every explanation has a weight, how likely it was before, and each
// outcome multiplies it by how well it was predicted. Tests may err, in both
// directions, with a small probability, so one odd outcome does not decide.
// A test that could not be run multiplies nothing: it says nothing.
//
// The next round is, among a family of sensible ones (halves, leafs, racks,
// pairs, suspects with proven partners, ...), the one whose outcomes would
// tell most explanations apart.
//
// # When it speaks
//
// A verdict needs nine tenths of the weight on one explanation, and more for
// accusing a node: it must have failed at least twice, with different partners
// that each passed elsewhere. Explanations that no test can tell apart (the
// uplinks of a fabric with only two leafs) end inconclusive, and so does an
// exhausted budget; then the verdict says between what. The nodes are clean
// when all of them together pass.
package localize
