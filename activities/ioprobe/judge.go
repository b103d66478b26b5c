package ioprobe

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/steps"
)

// judge turns what the probe said into answers. What was not measured is
// unknown, with the reason; of several volumes the slow ones are told, else the
// one of which least is known.
func judge(said said, seen sight, at place, s incident.IOProbeSettings) steps.RunIOProbeResult {
	if why := unusable(said, seen, at); why != "" {
		result := unknown(at, "the storage was not measured: "+why)
		result.Simulated = said.simulated
		return result
	}
	var slow, small []incident.Finding
	for _, v := range at.volumes {
		m := measured{volume: v, node: at.node, settings: s, rest: restOf(said, seen)}
		if i := slices.IndexFunc(said.volumes, func(one volumeSaid) bool { return one.path == v.dir }); i >= 0 {
			m.said = said.volumes[i]
		}
		slow, small = append(slow, m.storageSlow()), append(small, m.smallFilesSlow())
	}
	result := steps.RunIOProbeResult{Findings: append(gravest(slow), gravest(small)...), Simulated: said.simulated}
	result.Why = fmt.Sprintf("read from %s on %s, where rank %d runs%s", namesOf(at.volumes), at.node, at.rank.Index, simulatedWord(said.simulated))
	if len(at.refused) > 0 {
		result.Why += "; not probed: " + incident.Some(at.refused)
	}
	return result
}

func simulatedWord(simulated bool) string {
	if simulated {
		return " (simulated, no storage was read)"
	}
	return ""
}

func namesOf(volumes []dataVolume) string {
	var names []string
	for _, v := range volumes {
		names = append(names, v.subject)
	}
	return strings.Join(names, " and ")
}

// unusable says why nothing at all can be told; "" when something can.
func unusable(said said, seen sight, at place) string {
	switch {
	case seen.trouble != "":
		return seen.trouble
	case said.broken != "":
		return said.broken
	case said.host == "" && seen.late:
		return "the probe said nothing until its time was up"
	case said.host == "":
		return "the probe's program did not start; it needs python3 in its image" + lastWords(said)
	case said.host != at.node || seen.pod.Spec.NodeName != at.node:
		return fmt.Sprintf("the probe's pod stands on %s and says %s, and not on %s", seen.pod.Spec.NodeName, said.host, at.node)
	}
	return ""
}

func lastWords(said said) string {
	if said.last == "" {
		return ""
	}
	return "; it said: " + said.last
}

// restOf says why measurements may be missing.
func restOf(said said, seen sight) string {
	switch {
	case said.ended:
		return ""
	case seen.late:
		return "it was still reading when its time was up"
	}
	if why := testpods.Disruption(seen.pod); why != "" {
		return "the cluster took its pod away: " + why
	}
	return "it ended before it was done" + lastWords(said)
}

// unknown answers both questions with the same reason.
func unknown(at place, why string) steps.RunIOProbeResult {
	var findings []incident.Finding
	for _, id := range []string{incident.StorageSlow, incident.SmallFilesSlow} {
		findings = append(findings, incident.Finding{ID: id, Check: steps.RunIOProbe, State: incident.Unknown, Subject: at.subject(), Why: why})
	}
	return steps.RunIOProbeResult{Findings: findings, Why: why}
}

// gravest are all that say yes, else one: unknown before no.
func gravest(findings []incident.Finding) []incident.Finding {
	for _, state := range []incident.State{incident.Yes, incident.Unknown} {
		are := slices.DeleteFunc(slices.Clone(findings), func(f incident.Finding) bool { return f.State != state })
		if len(are) > 0 && state == incident.Yes {
			return are
		}
		if len(are) > 0 {
			return are[:1]
		}
	}
	return findings[:1]
}

// measured is one volume with what was said of it.
type measured struct {
	volume   dataVolume
	node     string
	settings incident.IOProbeSettings
	said     volumeSaid
	// rest says why measurements are missing, "" when the probe came to its end.
	rest string
}

func (m measured) finding(id string) incident.Finding {
	return incident.Finding{ID: id, Check: steps.RunIOProbe, State: incident.Unknown, Subject: m.volume.subject}
}

// storageSlow compares what large reads gave with what is slow.
func (m measured) storageSlow() incident.Finding {
	f := m.finding(incident.StorageSlow)
	large, ok := m.said.speed(incident.ReadSequential)
	if !ok {
		f.Why = m.missing("no large read was measured", fmt.Sprintf("%s has no file of at least 4 MiB among %s", m.volume.dir, m.seen()))
		return f
	}
	f.Value = fmt.Sprintf("%.0f MB/s", large.MBps)
	if small, ok := m.small(); ok {
		f.Value += ", " + ms(small.P50)
	}
	f.State = incident.No
	words := fmt.Sprintf("at least the %.0f MB/s", m.settings.SlowMBps)
	if large.MBps < m.settings.SlowMBps {
		f.State, words = incident.Yes, fmt.Sprintf("less than the %.0f MB/s", m.settings.SlowMBps)
	}
	f.Why = fmt.Sprintf("%s gives %.0f MB/s to large reads on %s while the ranks read (%s in %.1f s, by %s), %s of io_probe.slow_mbps%s%s",
		m.volume.subject, large.MBps, m.node, size(large.Bytes), large.Seconds, large.Tool, words, m.latencyWords(), m.errorWords())
	return f
}

// smallFilesSlow: large reads are quick, or there are none, and small ones are
// not. Where large ones are slow already, that is the answer.
func (m measured) smallFilesSlow() incident.Finding {
	f := m.finding(incident.SmallFilesSlow)
	small, ok := m.small()
	if !ok {
		f.Why = m.missing("no small read was measured", fmt.Sprintf("%s has no files that could be read, among %s", m.volume.dir, m.seen()))
		return f
	}
	bound := m.settings.SlowSmallRead
	limit := float64(bound) / float64(time.Millisecond)
	large, known := m.said.speed(incident.ReadSequential)
	f.State, f.Value = incident.No, fmt.Sprintf("%.0f reads/s, %s", small.ReadsPerSecond, ms(small.P50))
	words := fmt.Sprintf("%s on %s while the ranks read: %s each in the median (99 of 100 within %s), %.0f per second over %d streams",
		m.kind(small), m.node, ms(small.P50), ms(small.P99), small.ReadsPerSecond, streams)
	switch {
	case small.P50 <= limit:
		f.Why = fmt.Sprintf("%s, no longer than the %s of io_probe.slow_small_read", words, bound)
	case known && large.MBps < m.settings.SlowMBps:
		f.Why = words + "; large reads are slow, too, so that it is not the files' size"
	case known:
		f.State = incident.Yes
		f.Why = fmt.Sprintf("%s, longer than the %s of io_probe.slow_small_read, while large reads are quick (%.0f MB/s)", words, bound, large.MBps)
	default:
		f.State = incident.Yes
		f.Why = fmt.Sprintf("%s, longer than the %s of io_probe.slow_small_read; there are no large files", words, bound)
	}
	f.Why += "; " + m.seen() + m.errorWords()
	return f
}

// small is the test of small files where there are some, else that of small
// reads in large ones.
func (m measured) small() (incident.ReadSpeed, bool) {
	if speed, ok := m.said.speed(incident.ReadFiles); ok {
		return speed, true
	}
	return m.said.speed(incident.ReadRandom)
}

func (m measured) kind(speed incident.ReadSpeed) string {
	if speed.Test == incident.ReadFiles {
		return "opening and reading small files of " + m.volume.subject
	}
	return "reading 4 KiB at random places of " + m.volume.subject
}

func (m measured) latencyWords() string {
	small, ok := m.small()
	if !ok {
		return ""
	}
	return fmt.Sprintf("; %s takes %s in the median", m.kind(small), ms(small.P50))
}

// missing is the reason why a test is not there: what broke, what ran out, or
// what the tree lacks.
func (m measured) missing(what, lacks string) string {
	switch {
	case len(m.said.errors) > 0:
		return what + m.errorWords()
	case m.rest != "":
		return what + ": " + m.rest
	}
	return what + ": " + lacks
}

func (m measured) errorWords() string {
	if len(m.said.errors) == 0 {
		return ""
	}
	return "; reading broke: " + incident.Some(m.said.errors)
}

// seen tells what the tree is like.
func (m measured) seen() string {
	if !m.said.complete {
		return fmt.Sprintf("the first %d files, half of them smaller than %s", m.said.files, size(m.said.median))
	}
	return fmt.Sprintf("%d files, half of them smaller than %s", m.said.files, size(m.said.median))
}

// ms writes milliseconds with as many digits as say something.
func ms(value float64) string {
	if value < 10 {
		return fmt.Sprintf("%.2g ms", value)
	}
	return fmt.Sprintf("%.0f ms", value)
}

// size is in powers of ten, as bandwidths are.
func size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "B" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.2g %s", value, unit)
}
