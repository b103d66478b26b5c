package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/diagnosis"
	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// rankLog is what one restarted rank has said so far.
type rankLog struct {
	rank incident.Rank
	// since is the stamp of the last line read: the next read begins there.
	since time.Time
	lines int
	// transports are those that the lines name, "IB" and "Socket".
	transports map[string]bool
	stepped    bool
	// fault is the first line since the last training step whose signature is
	// no mere context: what a rank trained on after was overcome. faultAt is
	// when we read it.
	fault   *diagnosis.Match
	faultAt time.Time
	// first and last are the numbers of the first and the highest training step
	// since the restart; 0 where no line numbers them.
	first, last int
	// waited is the share of the steps' time that went into waiting for input, over
	// so many lines.
	waited      float64
	waitedLines int
}

// transportOf names the transports by the signatures that tell them.
var transportOf = map[string]string{diagnosis.SignatureIB: "IB", diagnosis.SignatureSocket: "Socket"}

// proven says whether the rank has shown all that is wanted of it.
func (r *rankLog) proven(wanted incident.Wanted) bool {
	return r.stepped && r.fault == nil && r.past(wanted) && r.fed(wanted) && (wanted.Transport == "" || r.transports[wanted.Transport] && r.otherTransport(wanted.Transport) == "")
}

// otherTransport names a transport in use that is not the wanted one; "" when
// there is none, or any is good.
func (r *rankLog) otherTransport(wanted string) string {
	for _, name := range []string{"IB", "Socket"} {
		if wanted != "" && name != wanted && r.transports[name] {
			return name
		}
	}
	return ""
}

// faultLine quotes the fault for people.
func (r *rankLog) faultLine() string {
	const room = 200
	text := redact.String(r.fault.Text)
	if len(text) > room {
		text = text[:room] + "..."
	}
	return text
}

// note takes one match to heart.
func (r *rankLog) note(match diagnosis.Match, now time.Time) {
	if name := transportOf[match.Signature]; name != "" {
		if r.transports == nil {
			r.transports = map[string]bool{}
		}
		r.transports[name] = true
	}
	if match.Signature == diagnosis.SignatureProgress {
		r.stepped, r.fault = true, nil
		if step, told := diagnosis.StepOf(match); told {
			if r.first == 0 {
				r.first = step
			}
			r.last = max(r.last, step)
		}
	}
	if match.Fault() && r.fault == nil {
		r.fault, r.faultAt = &match, now
	}
}

// readLogs reads what the ranks have logged since the last time, a bounded
// number at once.
func (h *Hands) readLogs(ctx context.Context, params steps.AwaitRanksParams, logs []*rankLog, collector *diagnosis.Collector) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, params.Logs.Parallel))
	for _, log := range logs {
		group.Go(func() error { return h.readLog(ctx, params, log, collector) })
	}
	return group.Wait()
}

// readLog reads one log on from its last line. A pod that vanished meanwhile
// has said nothing more; the next look finds its successor. A container that
// has not started yet is a bad request to the kubelet.
func (h *Hands) readLog(ctx context.Context, params steps.AwaitRanksParams, log *rankLog, collector *diagnosis.Collector) error {
	limit := params.Logs.HeadBytes + params.Logs.TailBytes
	if limit <= 0 {
		limit = 1 << 20
	}
	since := metav1.NewTime(log.since)
	stream, err := h.Kube.CoreV1().Pods(params.Target.Namespace).GetLogs(log.rank.Pod, &corev1.PodLogOptions{
		Container: log.rank.Container, Timestamps: true, SinceTime: &since, LimitBytes: &limit}).Stream(ctx)
	if apierrors.IsNotFound(err) || apierrors.IsBadRequest(err) {
		return nil
	}
	if err != nil {
		return classify(err, "reading the log of pod %s", log.rank.Pod)
	}
	defer stream.Close()
	fresh := &freshLines{in: bufio.NewReaderSize(redact.Reader(stream), 64<<10), since: log.since, after: log.since}
	err = h.Signatures.Scan(ctx, fresh, func(match diagnosis.Match) error {
		match.Line += log.lines
		collector.Add(log.rank.Index, "pod/"+log.rank.Pod, match)
		log.note(match, h.Now())
		return nil
	})
	log.lines += fresh.lines
	log.waited, log.waitedLines = collector.InputShare("pod/" + log.rank.Pod)
	log.since = fresh.after
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return classify(err, "reading the log of pod %s", log.rank.Pod)
	}
	return nil
}

// freshLines passes on the lines of a stamped log that come after a time, and
// keeps the stamp of the last whole one: the API's sinceTime counts in whole
// seconds, so that the next read begins with lines that were read already.
type freshLines struct {
	in *bufio.Reader
	// since is the stamp up to which lines were read before, after that of the
	// latest whole line.
	since, after time.Time
	lines        int
	left         []byte
}

func (f *freshLines) Read(p []byte) (int, error) {
	for len(f.left) == 0 {
		line, err := f.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line = append(bytes.Clone(line), '\n') // the buffer is used again for the rest
			err = f.skipRest()
		}
		if err != nil {
			return 0, err // a line without an end is read again, whole
		}
		if stamp, ok := stampOf(line); ok && stamp.After(f.since) {
			f.after, f.left = stamp, line
			f.lines++
		}
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// skipRest drops the rest of a line that is longer than the buffer.
func (f *freshLines) skipRest() error {
	for {
		_, err := f.in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// stampOf reads the time that the API puts before a line.
func stampOf(line []byte) (time.Time, bool) {
	text, _, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return time.Time{}, false
	}
	stamp, err := time.Parse(time.RFC3339Nano, string(text))
	return stamp, err == nil
}
