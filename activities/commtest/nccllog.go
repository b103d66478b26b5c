package commtest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// ncclLog is what a launcher's log told: one part for each program that ran.
// Formats are those of nccl-tests 2.8 to 2.19 (README.md, src/common.cu).
type ncclLog struct {
	parts []*ncclPart
	// done: the launcher's script came to its end.
	done bool
	// networks and channels are as in RankLog.
	networks, channels []string
	// worlds are the sizes that NCCL reported: ranks and nodes.
	worlds []ncclWorld
	// unreached are hosts that mpirun's ssh could not connect to.
	unreached []string
	// usage is a complaint about a flag; last the last line of anybody's.
	usage, last string
	Simulated   bool
	// Unreadable says why the log is missing or incomplete; Exit is nil while
	// the launcher runs.
	Unreadable string
	Exit       *Exit
}

type ncclWorld struct{ ranks, nodes int }

// ncclPart is one program's output.
type ncclPart struct {
	op      string
	devices map[int]string // rank -> host
	columns []string
	rows    []ncclRow
	// faults are lines that say what went wrong where.
	faults []ncclFault
	// outOfBounds is N of "Out of bounds values : N", -1 = not printed.
	outOfBounds int64
	failed      bool // "FAILED" stands behind it
	broken      string
	// code is the program's exit code, nil = it had not ended.
	code *int
	// timedOut: mpirun ended it because its time was up.
	timedOut bool
}

// ncclRow is one message size: bus bandwidth in GB/s and, where checked, the
// wrong elements of both sides.
type ncclRow struct {
	bytes               int64
	outOfPlace, inPlace float64
	wrong               int64
	checked             bool
}

type ncclFault struct {
	host, kind, text string
}

var (
	beginOp    = regexp.MustCompile(`^# gpumedic begin (\w+)$`)
	endOp      = regexp.MustCompile(`^# gpumedic end (\w+) (\d+)$`)
	deviceLine = regexp.MustCompile(`^#\s+Rank\s+(\d+)\s+(?:Group\s+\d+\s+)?Pid\s+\d+ on\s+(\S+) device\s+\d+ \[[^\]]*\]`)
	dataRow    = regexp.MustCompile(`^\s*\d+\s+\d+\s+[a-z]\w*\s`)
	boundsLine = regexp.MustCompile(`^# Out of bounds values : (\d+) (\S+)`)
	testFault  = regexp.MustCompile(`(\S+): Test (NCCL failure|CUDA failure|timeout)\s*(.*)$`)
	worldLine  = regexp.MustCompile(`nRanks (\d+) nNodes (\d+)`)
	sshFault   = regexp.MustCompile(`ssh: connect to host (\S+) port \d+: (Connection timed out|No route to host|Network is unreachable)`)
)

// readNCCL reads a launcher's log, with or without the API server's time
// stamps, in bounded memory. An error means that the log broke off.
func readNCCL(r io.Reader) (ncclLog, error) {
	var log ncclLog
	err := eachLine(r, log.take)
	return log, err
}

func (l *ncclLog) take(line string) {
	if match := beginOp.FindStringSubmatch(line); match != nil && len(l.parts) < 16 {
		l.parts = append(l.parts, &ncclPart{op: match[1], devices: map[int]string{}, outOfBounds: -1})
		return
	}
	if l.takeAnywhere(line) || len(l.parts) == 0 {
		return
	}
	part := l.parts[len(l.parts)-1]
	if match := endOp.FindStringSubmatch(line); match != nil && match[1] == part.op {
		code, err := strconv.Atoi(match[2])
		if err == nil {
			part.code = &code
		}
		return
	}
	part.take(line)
}

// takeAnywhere takes what does not belong to one program.
func (l *ncclLog) takeAnywhere(line string) bool {
	switch {
	case line == "# gpumedic done":
		l.done = true
	case strings.Contains(line, "simulated by gpumedic"):
		l.Simulated = true
	case usingNetwork.MatchString(line):
		l.networks = addOnce(l.networks, transportName(usingNetwork.FindStringSubmatch(line)[1]))
	case viaNet.MatchString(line):
		l.channels = addOnce(l.channels, transportName(viaNet.FindStringSubmatch(line)[1]))
	case worldLine.MatchString(line):
		match := worldLine.FindStringSubmatch(line)
		ranks, _ := strconv.Atoi(match[1]) // the pattern has digits only
		nodes, _ := strconv.Atoi(match[2])
		if len(l.worlds) < maxEvents {
			l.worlds = append(l.worlds, ncclWorld{ranks, nodes})
		}
	case sshFault.MatchString(line):
		l.unreached = addOnce(l.unreached, shortHost(sshFault.FindStringSubmatch(line)[1]))
		l.last = clip(strings.TrimSpace(line), 300)
	case strings.Contains(line, "invalid option"):
		l.usage = clip(strings.TrimSpace(line), 200)
	case strings.Contains(line, "NCCL INFO"):
	default:
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "# gpumedic") {
			l.last = clip(text, 300)
		}
		return false
	}
	return true
}

// shortHost is a host's name without its domain.
func shortHost(name string) string {
	host, _, _ := strings.Cut(name, ".")
	return host
}

func (p *ncclPart) take(line string) {
	switch {
	case deviceLine.MatchString(line):
		match := deviceLine.FindStringSubmatch(line)
		if rank, err := strconv.Atoi(match[1]); err == nil && len(p.devices) < maxEvents {
			p.devices[rank] = shortHost(match[2])
		}
	case isHeader(line):
		p.columns = strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "#"))
	case boundsLine.MatchString(line):
		match := boundsLine.FindStringSubmatch(line)
		p.outOfBounds, _ = strconv.ParseInt(match[1], 10, 64)
		p.failed = match[2] != "OK"
	case testFault.MatchString(line):
		match := testFault.FindStringSubmatch(line)
		if len(p.faults) < maxEvents {
			p.faults = append(p.faults, ncclFault{host: shortHost(match[1]), kind: match[2], text: clip(match[3], 300)})
		}
	case strings.Contains(line, "time limit for job execution has been reached"):
		p.timedOut = true
	case dataRow.MatchString(line):
		row, err := p.row(line)
		if err != nil && p.broken == "" {
			p.broken = clip(fmt.Sprintf("%s: %v", strings.TrimSpace(line), err), 300)
		}
		if err == nil && len(p.rows) < maxEvents {
			p.rows = append(p.rows, row)
		}
	}
}

// isHeader knows the line of column names: later versions have more of them.
func isHeader(line string) bool {
	fields := strings.Fields(line)
	return len(fields) > 3 && fields[0] == "#" && fields[1] == "size" && fields[2] == "count" && fields[3] == "type"
}

// row reads a data row by the header's names. Further columns behind those of
// the header (time stamps) are not read.
func (p *ncclPart) row(line string) (ncclRow, error) {
	fields := strings.Fields(line)
	if len(p.columns) == 0 {
		return ncclRow{}, errors.New("no header line came before it")
	}
	if len(fields) < len(p.columns) {
		return ncclRow{}, fmt.Errorf("it has %d columns, the header %d", len(fields), len(p.columns))
	}
	row, side := ncclRow{}, 0
	for i, name := range p.columns {
		var err error
		switch name {
		case "size":
			row.bytes, err = strconv.ParseInt(fields[i], 10, 64)
		case "busbw":
			if side++; side == 1 {
				row.outOfPlace, err = strconv.ParseFloat(fields[i], 64)
			} else if fields[i] != "N/A" { // not every collective has an in-place form
				row.inPlace, err = strconv.ParseFloat(fields[i], 64)
			}
		case "#wrong", "error":
			err = row.check(name, fields[i])
		}
		if err != nil {
			return row, fmt.Errorf("column %s: %w", name, err)
		}
	}
	if side == 0 {
		return row, errors.New("the header names no busbw")
	}
	return row, nil
}

// check reads wrong elements; before 2.13 the column is the largest deviation
// and is called error. Whether that is too large, the program itself says.
func (r *ncclRow) check(name, field string) error {
	if field == "N/A" {
		return nil
	}
	r.checked = true
	if name == "error" {
		_, err := strconv.ParseFloat(field, 64)
		return err
	}
	wrong, err := strconv.ParseInt(field, 10, 64)
	r.wrong += wrong
	return err
}
