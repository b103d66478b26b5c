package diagnosis

import (
	"fmt"
	"strconv"
	"strings"
)

// A single line may say little where many say much: memory that grows, steps that
// wait for data, steps that become slower.

// lastValues is how many of the latest values a series keeps.
const lastValues = 5

// series is what is kept of one capture over the lines of one rank.
type series struct {
	count, rises  int
	first, latest float64
	sum           float64
	last          []float64
	// other is the series of a second capture of the same lines.
	other *series
}

func (s *series) add(value float64) {
	if s.count == 0 {
		s.first = value
	} else if value > s.latest {
		s.rises++
	}
	s.count++
	s.latest = value
	s.sum += value
	s.last = append(s.last, value)
	if len(s.last) > lastValues {
		s.last = s.last[1:]
	}
}

// note adds a match's numbers: the capture "value", and "part" where there is
// one. A pattern of several forms numbers them: value2, part2.
func (s *series) note(m Match) {
	value, ok := amount(formed(m, "value"))
	if !ok {
		return
	}
	if m.Gap || m.Skipped > 0 { // the last values are to be neighbours
		s.last = s.last[:0]
	}
	s.add(value)
	if part, ok := amount(formed(m, "part")); ok {
		if s.other == nil {
			s.other = &series{}
		}
		s.other.add(part)
	}
}

func formed(m Match, name string) string {
	for _, form := range []string{"", "2", "3", "4"} {
		if text := m.Captures[name+form]; text != "" {
			return text
		}
	}
	return ""
}

// amount reads a number with or without a unit of bytes.
func amount(text string) (float64, bool) {
	if value, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil {
		return value, true
	}
	return sizeOf(text)
}

// weighStepTimes compares the time that steps wait for data (part) with what they
// take (value), over all ranks. The first step told of each rank does not count:
// workers have to start.
func weighStepTimes(ranks []*series) *Reading {
	var took, waited float64
	lines := 0
	for _, s := range ranks {
		if s.other == nil || s.other.count < 2 {
			continue
		}
		took, waited, lines = took+s.sum-s.first, waited+s.other.sum-s.other.first, lines+s.other.count-1
	}
	if lines < 3 || took <= 0 || waited < 0.5*took {
		return nil
	}
	share := min(waited/took, 1)
	return &Reading{Role: RoleOrigin, Weight: min(0.8, share), FailureCase: "dataset-slow", Causes: []string{"input-pipeline-too-slow"},
		Meaning: fmt.Sprintf("of the time of the %d steps looked at, %.0f %% went into waiting for data", lines, 100*share)}
}

// weighGrowth finds a rank whose memory rises nearly every time it is told.
func weighGrowth(ranks []*series) *Reading {
	for _, s := range ranks {
		if s.count >= 4 && s.first > 0 && s.latest >= 1.3*s.first && float64(s.rises) >= 0.8*float64(s.count-1) {
			return &Reading{Role: RoleContext, Weight: 0.8, FailureCase: "cuda-oom", Causes: []string{"memory-leak-growth"},
				Meaning: fmt.Sprintf("memory grew to %.1f times what it was, over %d readings", s.latest/s.first, s.count)}
		}
	}
	return nil
}

// weighSlowerSteps finds a rank whose latest steps each took longer than the one
// before.
func weighSlowerSteps(ranks []*series) *Reading {
	for _, s := range ranks {
		if len(s.last) < lastValues || s.last[lastValues-1] < 1.05*s.last[0] {
			continue
		}
		rising := true
		for i := 1; i < lastValues; i++ {
			rising = rising && s.last[i] > s.last[i-1]
		}
		if rising {
			return &Reading{Role: RoleOrigin, Weight: 0.3, FailureCase: "low-gpu-utilization",
				Causes:  []string{"gpu-fault-or-firmware-hang", "gpu-thermal-or-power", "input-pipeline-too-slow"},
				Meaning: fmt.Sprintf("each of the last %d steps was slower than the one before, by %.0f %% together", lastValues, 100*(s.last[lastValues-1]/s.last[0]-1))}
		}
	}
	return nil
}
