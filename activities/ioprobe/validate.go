package ioprobe

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"gpumedic/incident"
	"gpumedic/steps"
)

// validate refuses what the API server would refuse later or, worse, accept.
func validate(p steps.RunIOProbeParams) error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, wrong := range validation.IsDNS1123Label(p.Name) {
		report("name %q: %s", p.Name, wrong)
	}
	s := p.Settings
	if s.MaxBytes < 1<<20 {
		report("io_probe.max_bytes is %d, want at least %d", s.MaxBytes, 1<<20)
	}
	if s.StartDeadline <= 0 || s.Deadline < time.Second {
		report("io_probe.start_deadline and io_probe.deadline must be positive, got %s and %s", s.StartDeadline, s.Deadline)
	}
	if s.SlowMBps <= 0 || s.SlowSmallRead <= 0 {
		report("io_probe.slow_mbps and io_probe.slow_small_read must be above 0, got %g and %s", s.SlowMBps, s.SlowSmallRead)
	}
	if len(problems) == 0 {
		return nil
	}
	return incident.Faultf(incident.Invalid, errors.Join(problems...), "preparing the probe of storage %s/%s", p.Namespace, p.Name)
}
