package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

const (
	// defaultHead and defaultTail bound a log whose settings say nothing.
	defaultHead = 1 << 20
	defaultTail = 4 << 20
	// logPatience bounds the reading of one container's log.
	logPatience = 2 * time.Minute
)

// logSource is one log that can be read.
type logSource struct {
	rank      incident.Rank
	container string
	// previous asks for the container before its last restart.
	previous bool
	// ended asks for the attempt before in place of the present one: the container
	// waited for its restart, and what is asked for when it has restarted meanwhile
	// must not be the log of the new attempt.
	ended bool
	// replaced marks a pod of an earlier attempt.
	replaced bool
}

// name is the log's place in the bundle. The main container of a rank has the
// short name; everything else says what it is.
func (s logSource) name() string {
	name := "logs/pod-" + s.rank.Pod
	if s.rank.Index != unknownIndex {
		name = fmt.Sprintf("logs/rank-%03d", s.rank.Index)
	}
	if s.replaced && s.rank.Index != unknownIndex {
		name += ".attempt-" + s.rank.Pod
	}
	if s.container != s.rank.Container {
		name += "." + s.container
	}
	if s.previous {
		name += ".previous"
	}
	return name + ".log"
}

func (s logSource) String() string {
	text := fmt.Sprintf("log of container %s of pod %s", s.container, s.rank.Pod)
	if s.previous {
		text = "previous " + text
	}
	return text
}

// logSources lists the logs of a pod that exist. Waiting names a container
// that has not started yet, and why.
func logSources(rank incident.Rank, pod corev1.Pod, replaced bool) (sources []logSource, waiting []string) {
	for _, container := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		source := logSource{rank: rank, container: container.Name, replaced: replaced}
		status := statusOf(pod, container.Name)
		switch {
		case status == nil:
			if container.Name == rank.Container {
				waiting = append(waiting, fmt.Sprintf("%s: it has not started (%s)", source, pendingReason(pod)))
			}
			continue
		case status.State.Waiting != nil && status.LastTerminationState.Terminated == nil:
			if container.Name == rank.Container {
				waiting = append(waiting, fmt.Sprintf("%s: it has not started (%s)", source, orWord(status.State.Waiting.Reason, "waiting")))
			}
			continue
		}
		source.ended = status.State.Waiting != nil
		sources = append(sources, source)
		// While a container waits for its restart the kubelet gives the ended
		// one's log as the current and as the previous one.
		if status.LastTerminationState.Terminated != nil && status.State.Waiting == nil {
			source.previous = true
			sources = append(sources, source)
		}
	}
	return sources, waiting
}

func statusOf(pod corev1.Pod, container string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == container {
				return &list[i]
			}
		}
	}
	return nil
}

// pendingReason says why a pod has no containers yet.
func pendingReason(pod corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue {
			return strings.TrimSpace(condition.Reason + " " + condition.Message)
		}
	}
	return orWord(pod.Status.Reason, string(pod.Status.Phase))
}

// storeLog streams one log into the store, redacted and bounded. Broken says
// that the log could not be read, or not to its end; the error is the store's.
func (h *Hands) storeLog(ctx context.Context, namespace string, source logSource, bounds incident.LogSettings) (entry incident.IndexEntry, broken, err error) {
	reading, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	stream, err := h.Kube.CoreV1().Pods(namespace).GetLogs(source.rank.Pod, &corev1.PodLogOptions{
		Container: source.container, Previous: source.previous || source.ended, Timestamps: true}).Stream(reading)
	if err != nil {
		return entry, classify(err, "reading the %s", source), nil
	}
	defer stream.Close()
	steady := &steadyReader{in: stream}
	kept := newExcerpt(redact.Reader(steady), bounds.HeadBytes, bounds.TailBytes)
	ref, err := h.Store.Put(ctx, source.name(), kept)
	if err != nil {
		return entry, nil, incident.StoreFault(err, "storing the %s", source)
	}
	if steady.err != nil {
		broken = classify(steady.err, "reading the %s to its end", source)
	}
	ref.Cut = kept.cut > 0 || steady.err != nil
	return incident.IndexEntry{EvidenceRef: ref, Kind: "log", Rank: source.rank.Index, Pod: source.rank.Pod,
		Container: source.container, Previous: source.previous || source.replaced}, broken, nil
}

// steadyReader turns an error in the middle of a stream into a last line that
// tells of it, so that what was read until then is kept.
type steadyReader struct {
	in   io.Reader
	err  error
	rest io.Reader
}

func (s *steadyReader) Read(p []byte) (int, error) {
	if s.rest != nil {
		return s.rest.Read(p)
	}
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		s.rest = strings.NewReader("\n... gpumedic: the log breaks off here ...\n")
		err = nil
	}
	return n, err
}

// excerpt passes on the first bytes of a stream and its last ones. What lies
// between is dropped and counted in a line of its own. It holds no more than
// the tail in memory.
type excerpt struct {
	in   io.Reader
	head int64 // bytes of the head that are still to be passed on
	tail ring
	// endsLine says whether what was passed on ends with a line's end.
	endsLine bool
	rest     io.Reader
	// cut counts the dropped bytes, once the stream was read to its end.
	cut int64
}

func newExcerpt(in io.Reader, head, tail int64) *excerpt {
	if head <= 0 && tail <= 0 {
		head, tail = defaultHead, defaultTail
	}
	// One byte more than is kept tells whether the tail begins with a line.
	return &excerpt{in: in, head: max(0, head), tail: ring{limit: int(max(0, tail)) + 1}, endsLine: true}
}

func (e *excerpt) Read(p []byte) (int, error) {
	if e.rest != nil {
		return e.rest.Read(p)
	}
	if e.head > 0 {
		if int64(len(p)) > e.head {
			p = p[:e.head]
		}
		n, err := e.in.Read(p)
		e.head -= int64(n)
		if n > 0 {
			e.endsLine = p[n-1] == '\n'
		}
		return n, err
	}
	if _, err := io.Copy(&e.tail, e.in); err != nil {
		return 0, err
	}
	e.finish()
	return e.rest.Read(p)
}

// finish makes the tail begin with a whole line when something was dropped.
func (e *excerpt) finish() {
	tail := e.tail.bytes()
	if len(tail) < e.tail.limit {
		e.rest = bytes.NewReader(tail)
		return
	}
	if line := bytes.IndexByte(tail, '\n'); line >= 0 && line+1 < len(tail) {
		tail = tail[line+1:]
	} else { // the tail is one long line, or a part of it
		tail = tail[1:]
	}
	e.cut = e.tail.written - int64(len(tail))
	mark := fmt.Sprintf("... gpumedic: %d bytes cut ...\n", e.cut)
	if !e.endsLine {
		mark = "\n" + mark
	}
	e.rest = io.MultiReader(strings.NewReader(mark), bytes.NewReader(tail))
}

// ring keeps the last bytes that were written to it.
type ring struct {
	limit   int
	data    []byte
	next    int // where the next byte goes, once data is full
	written int64
}

func (r *ring) Write(p []byte) (int, error) {
	n := len(p)
	r.written += int64(n)
	if len(p) > r.limit {
		p = p[len(p)-r.limit:]
	}
	if room := r.limit - len(r.data); room > 0 {
		take := min(room, len(p))
		r.data = append(r.data, p[:take]...)
		p = p[take:]
	}
	for len(p) > 0 {
		done := copy(r.data[r.next:], p)
		r.next = (r.next + done) % r.limit
		p = p[done:]
	}
	return n, nil
}

// bytes returns what was kept, in order.
func (r *ring) bytes() []byte {
	return append(append(make([]byte, 0, len(r.data)), r.data[r.next:]...), r.data[:r.next]...)
}
