package incident

import (
	"strings"
	"testing"
)

func TestExpectedBusBW(t *testing.T) {
	h100 := func(n int) []Node {
		var nodes []Node
		for range n {
			nodes = append(nodes, Node{Name: "n", Product: "NVIDIA-H100-80GB-HBM3", GPUs: 8})
		}
		return nodes
	}
	mixed := append(h100(2), Node{Product: "NVIDIA-A100-SXM4-80GB", GPUs: 8})
	unread := append(h100(2), Node{Name: "x", Unread: "no answer"})
	whole := CommTestSettings{GPUsPerNode: 8, MaxBytes: 1 << 30, Fabric: "efa"}
	with := func(change func(*CommTestSettings)) CommTestSettings {
		s := whole
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		nodes          []Node
		settings       CommTestSettings
		network, local float64
		source         string
	}{
		"published":            {h100(2), whole, 313, 365, "p5.48xlarge"},
		"no figure for fabric": {h100(2), with(func(s *CommTestSettings) { s.Fabric = "roce" }), 0, 365, "NVLS off"},
		"fabric not told":      {h100(2), with(func(s *CommTestSettings) { s.Fabric = "" }), 0, 365, "NVLS off"},
		"the site knows": {h100(2), with(func(s *CommTestSettings) { s.ExpectedBusBWGBps, s.LocalBusBWGBps = 370, 450 }),
			370, 450, "incident.comm_test.expected_busbw_gbps; incident.comm_test.local_busbw_gbps"},
		"the site knows, no fabric": {nil, CommTestSettings{ExpectedBusBWGBps: 9}, 9, 0, "expected_busbw_gbps"},
		"part of the GPUs":          {h100(2), with(func(s *CommTestSettings) { s.GPUsPerNode = 4 }), 0, 0, ""},
		"small messages":            {h100(2), with(func(s *CommTestSettings) { s.MaxBytes = 1 << 24 }), 0, 0, ""},
		"two products":              {mixed, whole, 0, 0, ""},
		"a node was not read":       {unread, whole, 0, 0, ""},
		"another product":           {[]Node{{Product: "NVIDIA-L40S", GPUs: 8}}, whole, 0, 0, ""},
		"A100":                      {mixed[2:], whole, 0, 228, "nd96asr_v4"},
		"no nodes":                  {nil, whole, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			network, local, source := ExpectedBusBW(c.nodes, c.settings)
			if network != c.network || local != c.local || !strings.Contains(source, c.source) {
				t.Errorf("got %v, %v from %q; want %v, %v from ...%s...", network, local, source, c.network, c.local, c.source)
			}
			if (network == 0 && local == 0) != (source == "") {
				t.Errorf("figures %v, %v and source %q", network, local, source)
			}
		})
	}
}
