package diagnosis

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A signature says what a line means; where the numbers in it decide, a reader
// does the arithmetic. Signatures name their reader, they never compute.

// Reading is what a reader makes of a line: it stands in place of what the
// signature says of every line of its kind. Empty fields leave the signature's.
type Reading struct {
	// Meaning shows the arithmetic to people.
	Meaning     string
	FailureCase string
	Causes      []string
	Weight      float64
	Role        string
}

// reader weighs numbers. Line is given a match and its whole text, sets the
// match's reading, and returns false when the line says nothing after all.
// Whole is given the numbers of all lines, a series for each rank; it returns nil
// when they say nothing together. Either may be missing.
type reader struct {
	line  func(m *Match, text string) bool
	whole func(ranks []*series) *Reading
}

// readers are chosen by the signatures that name them.
var readers = map[string]reader{
	"torch-oom":            {line: readTorchOOM},
	"torch-memory-summary": {line: readTorchSummary},
	"bfc-statistics":       {line: readBFC},
	"request-size":         {line: readRequest},
	"gpu-table":            {line: readGPUTable},
	"scheduler":            {line: readScheduler},
	"utilisation-rows":     {line: readUtilisation},
	"node-resources":       {line: readNodeResources},
	"serving-load":         {line: readServingLoad},
	"round-limit":          {line: readRoundLimit},
	"startup-memory":       {line: readStartupMemory},
	"step-times":           {whole: weighStepTimes},
	"memory-growth":        {whole: weighGrowth},
	"slower-steps":         {whole: weighSlowerSteps},
}

// Readers returns the names of the readers that a signature may name.
func Readers() []string { return slices.Sorted(maps.Keys(readers)) }

// quantity is a number with a unit of bytes, as "1.44 GiB" or "512MB".
var quantity = regexp.MustCompile(`([\d.]+)\s*([KMGT]?i?)(?:B|bytes?)?`)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// sizeOf reads a quantity in bytes, false when it is none. Units of a thousand
// are taken as their binary neighbours: what prints them means those.
func sizeOf(text string) (float64, bool) {
	found := quantity.FindStringSubmatch(text)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return 0, false
	}
	switch strings.TrimSuffix(found[2], "i") {
	case "K":
		value *= kib
	case "M":
		value *= mib
	case "G":
		value *= gib
	case "T":
		value *= gib * kib
	}
	return value, true
}

// size writes bytes for people.
func size(bytes float64) string {
	if bytes >= gib {
		return strconv.FormatFloat(bytes/gib, 'f', 2, 64) + " GiB"
	}
	return strconv.FormatFloat(bytes/mib, 'f', 0, 64) + " MiB"
}

// figure returns the quantity that a pattern's first group captures.
func figure(pattern *regexp.Regexp, text string) (float64, bool) {
	found := pattern.FindStringSubmatch(text)
	if found == nil {
		return 0, false
	}
	return sizeOf(found[1])
}
