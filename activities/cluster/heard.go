package cluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"gpumedic/diagnosis"
	"gpumedic/incident"
)

// heardRank is what the logs of one rank tell.
type heardRank struct {
	now, before heard
}

// heard is what logs tell beside the known lines themselves.
type heard struct {
	// read says that there was a log at all.
	read  bool
	lines int
	// transports by name, with the place of the first line that says so.
	transports map[string]string
	steps      int
	lastStep   time.Time
	stepPlace  string
	// longest is the longest pause between two steps.
	longest time.Duration
	// workerDied is the first line that tells of a loader worker's violent end, ""
	// when none does, and workerPlace where it is.
	workerDied, workerPlace string
}

// scanLogs classifies all logs, some side by side. The result does not depend
// on their order.
func (h *Hands) scanLogs(ctx context.Context, logs []rankLogEntry, collector *diagnosis.Collector) (map[int]*heardRank, error) {
	found := make([]heard, len(logs))
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(scansAtOnce)
	for i, log := range logs {
		group.Go(func() error {
			defer h.progress(ctx, log.Name)
			return h.scanLog(running, log, collector, &found[i])
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	ranks := map[int]*heardRank{}
	for i, log := range logs {
		rank := ranks[log.rank]
		if rank == nil {
			rank = &heardRank{}
			ranks[log.rank] = rank
		}
		if log.Previous {
			rank.before.add(found[i])
		} else {
			rank.now.add(found[i])
		}
	}
	return ranks, nil
}

func (h *Hands) scanLog(ctx context.Context, log rankLogEntry, collector *diagnosis.Collector, into *heard) error {
	content, err := h.Store.Open(ctx, log.EvidenceRef)
	if err != nil {
		return incident.StoreFault(err, "opening evidence %s", log.Name)
	}
	defer content.Close()
	lines := &lineCounter{in: bufio.NewReaderSize(content, 64<<10)}
	err = h.Signatures.Scan(ctx, lines, func(match diagnosis.Match) error {
		collector.Add(log.rank, log.Name, match)
		into.note(log.Name, match)
		return nil
	})
	if err != nil {
		return incident.StoreFault(err, "reading evidence %s", log.Name)
	}
	into.read, into.lines = true, lines.count
	return nil
}

// lineCounter counts the lines that pass through it; a last one without an end
// counts too.
type lineCounter struct {
	in      io.Reader
	count   int
	pending bool
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	l.count += bytes.Count(p[:n], []byte{'\n'})
	if n > 0 {
		l.pending = p[n-1] != '\n'
	}
	if err == io.EOF && l.pending {
		l.count, l.pending = l.count+1, false
	}
	return n, err
}

func (d *heard) note(name string, match diagnosis.Match) {
	place := fmt.Sprintf("%s#L%d", name, match.Line)
	if slices.Contains(workerDeaths, match.Signature) && d.workerDied == "" {
		d.workerDied, d.workerPlace = match.Text, place
	}
	transport := transportOf[match.Signature]
	if match.Signature == transportFabric {
		transport = "Libfabric"
	}
	if transport != "" && d.transports[transport] == "" {
		if d.transports == nil {
			d.transports = map[string]string{}
		}
		d.transports[transport] = place
	}
	if match.Signature != diagnosis.SignatureProgress {
		return
	}
	steps := 1 + match.Skipped // of a long log some steps are passed over
	if !d.lastStep.IsZero() && !match.At.IsZero() && !match.Gap {
		d.longest = max(d.longest, match.At.Sub(d.lastStep)/time.Duration(steps))
	}
	d.steps, d.lastStep, d.stepPlace = d.steps+steps, match.At, place
}

// add joins what several logs of one rank tell.
func (d *heard) add(other heard) {
	d.read, d.lines, d.steps = d.read || other.read, d.lines+other.lines, d.steps+other.steps
	d.longest = max(d.longest, other.longest)
	if other.steps > 0 && !other.lastStep.Before(d.lastStep) {
		d.lastStep, d.stepPlace = other.lastStep, other.stepPlace
	}
	if other.workerDied != "" && (d.workerDied == "" || other.workerPlace < d.workerPlace) {
		d.workerDied, d.workerPlace = other.workerDied, other.workerPlace
	}
	for name, place := range other.transports {
		if d.transports == nil {
			d.transports = map[string]string{}
		}
		if d.transports[name] == "" || place < d.transports[name] {
			d.transports[name] = place
		}
	}
}

// stalled says since when a rank has logged no step although it did before;
// "" when it goes on, or its lines carry no time.
func (d heard) stalled(at time.Time) string {
	if d.lastStep.IsZero() {
		return ""
	}
	patience := lonePatience
	if d.steps > 1 {
		patience = min(max(pausesOfGrace*d.longest, leastPatience), mostPatience)
	}
	if silence := at.Sub(d.lastStep); silence > patience {
		return fmt.Sprintf("last step %s ago", incident.Short(silence))
	}
	return ""
}
