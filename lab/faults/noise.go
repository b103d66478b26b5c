package faults

import (
	"fmt"
	"hash/fnv"
)

// hash draws a number from names, the same whenever it is asked.
func hash(names ...any) uint64 {
	h := fnv.New64a()
	for _, name := range names {
		fmt.Fprintf(h, "%v\x00", name) // a hash never fails to be written
	}
	return spread(h.Sum64())
}

// spread makes every bit depend on every other: FNV leaves names that differ
// at their end close together.
func spread(x uint64) uint64 {
	for range 2 {
		x ^= x >> 32
		x *= 0xd6e8feb86659fd93
	}
	return x ^ x>>32
}

// noise draws a number between -1 and 1.
func noise(names ...any) float64 {
	return float64(hash(names...)>>11)/float64(1<<52) - 1
}
