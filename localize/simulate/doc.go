// Package simulate plays communication tests against invented faults, to
// measure planners: who is bad is known here, so a verdict can be marked. Sites
// have leafs of eight to thirty-two nodes, two racks each. Everything follows
// from a seed.
//
// # The fault models
//
//	clean        nothing is bad
//	hard-N       N nodes fail every test that they are in
//	slow-N       N nodes leave a group they are in 15 to 50 % of its bandwidth
//	flaky-N      N nodes fail a test with a chance of 40 to 80 %
//	mixed-N      N nodes, each hard, slow or flaky
//	link         two nodes fail every test that holds both
//	uplink       groups that cross one leaf's border fail
//	leaf         every group of two or more with a node of one leaf fails
//	infra        every group of two or more fails
//	norun        one hard node, and every seventh test cannot be run
//
// Noise is how often a group fails that has nothing bad in it. Bandwidths vary
// by 6 % (standard deviation), and are given for groups that pass.
package simulate
