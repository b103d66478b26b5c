package incident

import "strings"

// measured is a bus bandwidth that somebody published, in GB/s, of an
// all-reduce of 1 GiB or more among whole nodes of eight GPUs.
type measured struct {
	// product is a part of the node label nvidia.com/gpu.product.
	product string
	// fabric is CommTestSettings.Fabric; "" = inside one node.
	fabric string
	gbps   float64
	source string
}

// published holds only figures with a source. Bandwidth between nodes depends
// on how many NICs a site has, so there are few; a site's own measurement,
// set in the configuration, is always better.
var published = []measured{
	{"A100-SXM", "", 228, "Azure/azurehpc-health-checks conf/nd96asr_v4.conf, pass limit"},
	{"H100-80GB-HBM3", "", 365, "stas00/ml-engineering network/README.md, NVLS off"},
	{"H200", "", 367, "stas00/ml-engineering network/README.md, ring"},
	{"B200", "", 682, "stas00/ml-engineering network/README.md, ring"},
	{"V100-SXM", "", 110, "Azure/azurehpc-health-checks conf/nd40rs_v2.conf, pass limit"},
	{"H100-80GB-HBM3", "efa", 313, "aws-samples/awsome-distributed-training micro-benchmarks/nccl-tests/README.md, 2 p5.48xlarge at 1 GiB"},
	{"B200", "efa", 362, "stas00/ml-engineering network/README.md, 4 p6-b200 at 1 GiB"},
}

const (
	wholeNode = 8
	// saturating is the smallest largest message at which the figures hold.
	saturating = 1 << 30
)

// ExpectedBusBW is the bus bandwidth of a healthy group between nodes and
// inside one node, in GB/s, and where each figure comes from, "" where there
// is none; 0 = unknown. What the configuration says wins. A published figure
// counts only when all nodes carry the same GPU, a test pod takes all eight
// and the sweep reaches 1 GiB.
func ExpectedBusBW(nodes []Node, s CommTestSettings) (network, local float64, source string) {
	var sources []string
	look := func(set float64, key, fabric string) float64 {
		if set > 0 {
			sources = append(sources, "incident.comm_test."+key)
			return set
		}
		if found, ok := publishedFor(nodes, s, fabric); ok {
			sources = append(sources, found.source)
			return found.gbps
		}
		return 0
	}
	if network = s.ExpectedBusBWGBps; network > 0 || s.Fabric != "" {
		network = look(s.ExpectedBusBWGBps, "expected_busbw_gbps", s.Fabric)
	}
	local = look(s.LocalBusBWGBps, "local_busbw_gbps", "")
	return network, local, strings.Join(sources, "; ")
}

func publishedFor(nodes []Node, s CommTestSettings, fabric string) (measured, bool) {
	if len(nodes) == 0 || s.GPUsPerNode != wholeNode || s.MaxBytes < saturating {
		return measured{}, false
	}
	for _, node := range nodes {
		if node.Product != nodes[0].Product || node.GPUs != wholeNode || node.Unread != "" {
			return measured{}, false
		}
	}
	for _, m := range published {
		if m.fabric == fabric && strings.Contains(nodes[0].Product, m.product) {
			return m, true
		}
	}
	return measured{}, false
}
