package commtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"gpumedic/incident"
	"gpumedic/steps"
)

// maxRanks bounds one group; beyond it the Job's annotations would not fit.
const maxRanks = 4096

// validate refuses what the API server would refuse later or, worse, accept.
func validate(p steps.RunCommTestParams) error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, wrong := range validation.IsDNS1035Label(p.Name) {
		report("name %q: %s", p.Name, wrong)
	}
	if n := len(p.Group.Nodes); n == 0 || n > maxRanks {
		report("group %q has %d nodes, want 1 to %d", p.Group.ID, n, maxRanks)
	}
	if host := p.Name + "-" + strconv.Itoa(len(p.Group.Nodes)); len(host) > validation.DNS1123LabelMaxLength {
		report("name %q is too long: pod host names like %q must fit into %d characters", p.Name, host, validation.DNS1123LabelMaxLength)
	}
	if node, twice := repeated(p.Group.Nodes); twice {
		report("group %q names node %q twice", p.Group.ID, node)
	}
	problems = append(problems, validateSettings(p.Settings)...)
	if len(problems) == 0 {
		return nil
	}
	return incident.Faultf(incident.Invalid, errors.Join(problems...), "preparing communication test %s/%s", p.Namespace, p.Name)
}

func validateSettings(s incident.CommTestSettings) []error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Image == "" && s.Tool != ToolNCCL {
		report("comm_test.image is empty")
	}
	if s.NCCLTestsImage == "" && s.Tool == ToolNCCL {
		report("comm_test.nccl_tests_image is empty, and comm_test.tool is %s", ToolNCCL)
	}
	if !slices.Contains([]string{"", ToolTorch, ToolNCCL, toolAuto}, s.Tool) {
		report("comm_test.tool is %q, want %s, %s or %s", s.Tool, ToolTorch, ToolNCCL, toolAuto)
	}
	problems = append(problems, validateFabric(s)...)
	if s.GPUsPerNode < 0 {
		report("comm_test.gpus_per_node is %d", s.GPUsPerNode)
	}
	if s.StartDeadline <= 0 || s.Deadline <= 0 {
		report("comm_test.start_deadline and comm_test.deadline must be positive, got %s and %s", s.StartDeadline, s.Deadline)
	}
	if s.MaxBytes < smallest {
		report("comm_test.max_bytes is %d, want at least %d", s.MaxBytes, int64(smallest))
	}
	for _, name := range sortedKeys(s.Resources) {
		if _, err := resource.ParseQuantity(s.Resources[name]); err != nil {
			report("comm_test.resources[%s] is %q: %w", name, s.Resources[name], err)
		}
	}
	return problems
}

func validateFabric(s incident.CommTestSettings) []error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	known, found := fabrics[s.Fabric]
	switch {
	case s.Fabric == "":
	case !found:
		report("comm_test.fabric is %q, want one of %s", s.Fabric, strings.Join(slices.Sorted(maps.Keys(fabrics)), ", "))
	case known.asks != nil && known.asks(s) != "":
		report("%s", known.asks(s))
	}
	for _, network := range s.Networks {
		namespace, name, _ := strings.Cut(network, "/")
		if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			report("comm_test.networks has %q, want namespace/name", network)
		}
	}
	if size, err := resource.ParseQuantity(s.SharedMemory); s.SharedMemory != "" && (err != nil || size.Sign() <= 0) {
		report("comm_test.shared_memory is %q, want a size such as 16Gi", s.SharedMemory)
	}
	return problems
}

func repeated(names []string) (string, bool) {
	sorted := slices.Sorted(slices.Values(names))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i], true
		}
	}
	return "", false
}
