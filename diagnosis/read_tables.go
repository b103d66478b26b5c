package diagnosis

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tables for people that hold a diagnosis: nvidia-smi's, and kubectl's of a
// node.

var (
	smiRow     = regexp.MustCompile(`(\d+)MiB */ *(\d+)MiB *\| *(\d+)%`)
	smiProcess = regexp.MustCompile(`(?m)^\| +\d+ +(?:\S+ +\S+ +)?\d+ +(?:M\+)?[CG](?:\+G)? `)
	smiEnd     = regexp.MustCompile(`(?i)Processes:`)
)

// readGPUTable finds memory of an idle GPU that no listed process holds. A table
// without its list of processes says nothing, a GPU that works neither: in a
// container the processes of others are not listed.
func readGPUTable(m *Match, text string) bool {
	at := smiEnd.FindStringIndex(text)
	if at == nil || smiProcess.MatchString(text[at[1]:]) {
		return false
	}
	for _, row := range smiRow.FindAllStringSubmatch(text[:at[0]], -1) {
		used, _ := strconv.ParseFloat(row[1], 64)
		total, _ := strconv.ParseFloat(row[2], 64)
		if used*mib > gib && used > 0.1*total && row[3] == "0" {
			m.Reading = &Reading{Meaning: fmt.Sprintf("%s of %s of an idle GPU are held, and no process is listed", size(used*mib), size(total*mib))}
			return true
		}
	}
	return false
}

var (
	// As kubectl describes a node, and as it writes one in YAML and JSON.
	resourceBlock = regexp.MustCompile(`(?m)^\s*"?(Capacity|Allocatable|capacity|allocatable)"?:\s*\{?\s*$`)
	resourceLine  = regexp.MustCompile(`^\s+"?([\w./-]+)"?:\s+"?(\d+)([\w.]*)"?,?\s*$`)
	gpuResource   = regexp.MustCompile(`(?i)gpu|nvidia\.com/|amd\.com/|habana|/mig-`)
)

// readNodeResources compares what a node has with what it offers.
func readNodeResources(m *Match, text string) bool {
	capacity, allocatable := resources(text, "Capacity"), resources(text, "Allocatable")
	for _, name := range slices.Sorted(maps.Keys(allocatable.gpus)) {
		offered := allocatable.gpus[name]
		if had, known := capacity.gpus[name]; known && offered < had {
			m.Reading = &Reading{FailureCase: "device-plugin/driver", Causes: []string{"unhealthy-gpu-device", "device-plugin-not-registered"}, Weight: 0.75,
				Meaning: fmt.Sprintf("the node has %d of %s and offers %d", had, name, offered)}
			return true
		}
	}
	for _, offered := range allocatable.gpus {
		if offered > 0 {
			return false
		}
	}
	for _, had := range capacity.gpus {
		if had > 0 && len(allocatable.gpus) == 0 { // the list is cut before the GPUs
			return false
		}
	}
	if len(allocatable.all) < 3 { // cut off: what is not shown may be there
		return false
	}
	m.Reading = &Reading{FailureCase: "gpu-unschedulable", Causes: []string{"device-plugin-not-registered"}, Weight: 0.6,
		Meaning: "the node offers no GPU"}
	return true
}

type offer struct {
	all  []string
	gpus map[string]int
}

// resources reads the lines below a heading, up to the first that is none.
func resources(text, heading string) offer {
	out := offer{gpus: map[string]int{}}
	for _, at := range resourceBlock.FindAllStringSubmatchIndex(text, -1) {
		if !strings.EqualFold(text[at[2]:at[3]], heading) {
			continue
		}
		for line := range strings.SplitSeq(strings.TrimLeft(text[at[1]:], "\r\n"), "\n") {
			found := resourceLine.FindStringSubmatch(strings.TrimRight(line, "\r"))
			if found == nil {
				break
			}
			out.all = append(out.all, found[1])
			if count, err := strconv.Atoi(found[2]); err == nil && gpuResource.MatchString(found[1]) {
				out.gpus[found[1]] = count
			}
		}
		break
	}
	return out
}

var dmonRow = regexp.MustCompile(`(?m)^ +\d+ +(\d+) +\d+(?: +\d+)* *$`)

// readUtilisation finds a GPU that works hard and idles by turns.
func readUtilisation(m *Match, text string) bool {
	rows := dmonRow.FindAllStringSubmatch(text, -1)
	idle, busy := 0, 0
	for _, row := range rows {
		switch share, _ := strconv.Atoi(row[1]); {
		case share <= 5:
			idle++
		case share >= 60:
			busy++
		}
	}
	if len(rows) < 6 || busy == 0 || 2*idle < len(rows) {
		return false
	}
	m.Reading = &Reading{Meaning: fmt.Sprintf("in %d of %d readings the GPU was idle, in %d it worked hard", idle, len(rows), busy)}
	return true
}
