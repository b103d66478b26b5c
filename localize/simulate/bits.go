package simulate

import (
	"math"
	"strconv"
	"strings"
)

// Bits is how much it takes to tell one fault of a model from all others of the
// same model, in bits: no search with tests that only pass or fail finds it in
// fewer tests on average. That anything is bad, and of which kind, is given.
func Bits(model string, nodes int) float64 {
	kind, text, _ := strings.Cut(model, "-")
	count, err := strconv.Atoi(text)
	if err != nil {
		count = 1
	}
	switch kind {
	case "clean", "infra":
		return 0
	case "link":
		return math.Log2(float64(nodes) * float64(nodes-1) / 2)
	case "uplink", "leaf":
		leafs := map[string]bool{}
		for _, node := range site(nodes) {
			leafs[node.Leaf] = true
		}
		return math.Log2(float64(len(leafs)))
	}
	return choose(nodes, count)
}

// choose is the logarithm to base 2 of how many sets of k there are among n.
func choose(n, k int) float64 {
	bits := 0.0
	for i := range k {
		bits += math.Log2(float64(n-i)) - math.Log2(float64(i+1))
	}
	return bits
}
