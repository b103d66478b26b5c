package commtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

const (
	readAtOnce = 8
	// readTries and readPause: a log stands behind a kubelet that may be busy.
	readTries = 3
	readPause = 500 * time.Millisecond
	// readBound ends the wait for a kubelet that takes the call and is silent.
	readBound = 30 * time.Second
)

// collect reads and keeps the logs of all ranks that started. One that cannot
// be read is noted in its RankLog: a dead kubelet is part of the picture, not
// a reason to give up. Only a refusal of the API server is an error.
func (h *Hands) collect(ctx context.Context, p steps.RunCommTestParams, seen sight) ([]RankLog, []incident.IndexEntry, error) {
	logs := make([]RankLog, len(seen.ranks))
	entries := make([]incident.IndexEntry, len(seen.ranks))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(readAtOnce)
	for rank, pod := range seen.ranks {
		if pod == nil {
			logs[rank] = RankLog{Rank: rank, Unreadable: "it has no pod"}
			continue
		}
		group.Go(func() error {
			var err error
			logs[rank], entries[rank], err = h.readRank(inner, p, rank, pod)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	kept := entries[:0]
	for _, entry := range entries {
		if entry.Name != "" {
			kept = append(kept, entry)
		}
	}
	return logs, kept, nil
}

func (h *Hands) readRank(ctx context.Context, p steps.RunCommTestParams, rank int, pod *corev1.Pod) (log RankLog, entry incident.IndexEntry, err error) {
	read := func(r io.Reader) (err error) { log, err = Read(r); return err }
	unread, entry, err := h.keepLog(ctx, pod, fmt.Sprintf("commtest/%s/rank-%03d.log", p.Name, rank), rank, read)
	log.Unreadable = unread
	log.Rank, log.Node, log.Pod, log.Exit = rank, pod.Spec.NodeName, pod.Name, exitOf(pod)
	return log, entry, err
}

// keepLog streams a pod's log through read and keeps it as evidence under
// name. Unread says why it is missing or incomplete.
func (h *Hands) keepLog(ctx context.Context, pod *corev1.Pod, name string, rank int, read func(io.Reader) error) (unread string, entry incident.IndexEntry, err error) {
	content, err := h.readLog(ctx, pod, read)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return "", entry, testpods.Fault(err, "reading the log of test pod %s/%s", pod.Namespace, pod.Name)
	case ctx.Err() != nil:
		return "", entry, incident.Faultf(incident.TimedOut, context.Cause(ctx), "reading the log of test pod %s/%s", pod.Namespace, pod.Name)
	case err != nil:
		unread = err.Error()
	}
	if content.empty() {
		return unread, entry, nil
	}
	ref, err := h.Store.Put(ctx, name, content.reader())
	if err != nil {
		return unread, entry, fmt.Errorf("keeping %s: %w", name, err)
	}
	ref.Cut = ref.Cut || content.dropped > 0
	return unread, incident.IndexEntry{EvidenceRef: ref, Kind: "log", Rank: rank, Pod: pod.Name, Container: container}, nil
}

// readLog tries a few times; what the last try got is returned with its error.
func (h *Hands) readLog(ctx context.Context, pod *corev1.Pod, read func(io.Reader) error) (content *keeper, err error) {
	if _, started := testpods.StartedAt(pod, container); !started {
		return newKeeper(), fmt.Errorf("its program did not start")
	}
	for try := 1; ; try++ {
		content, err = h.stream(ctx, pod, read)
		if err == nil || try == readTries || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return content, err
		}
		h.log().Warn("log not read, trying again", "pod", pod.Name, "node", pod.Spec.NodeName, "error", err)
		select {
		case <-ctx.Done():
			return content, context.Cause(ctx)
		case <-time.After(readPause):
		}
	}
}

// stream reads a log once, redacted: all of it is parsed, its head and tail are kept.
func (h *Hands) stream(ctx context.Context, pod *corev1.Pod, read func(io.Reader) error) (*keeper, error) {
	ctx, done := context.WithTimeout(ctx, readBound)
	defer done()
	content := newKeeper()
	options := &corev1.PodLogOptions{Container: container, Timestamps: true}
	body, err := h.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
	if err != nil {
		return content, err
	}
	defer body.Close()
	err = read(io.TeeReader(redact.Reader(body), content))
	content.end()
	return content, err
}

func exitOf(pod *corev1.Pod) *Exit {
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; status.Name == container && ended != nil {
			return &Exit{Code: int(ended.ExitCode), Reason: ended.Reason, Disrupted: testpods.Disruption(pod)}
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return &Exit{Code: -1, Reason: pod.Status.Reason, Disrupted: testpods.Disruption(pod)}
	}
	return nil
}

// keepIndex stores the list of the test's logs; without logs there is none.
func (h *Hands) keepIndex(ctx context.Context, name string, entries []incident.IndexEntry) (incident.EvidenceRef, error) {
	if len(entries) == 0 {
		return incident.EvidenceRef{}, nil
	}
	data, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return incident.EvidenceRef{}, incident.Faultf(incident.Internal, err, "listing the logs of test job %s", name)
	}
	ref, err := h.Store.Put(ctx, "commtest/"+name+"/index.json", bytes.NewReader(data))
	if err != nil {
		return incident.EvidenceRef{}, fmt.Errorf("keeping the index of test job %s: %w", name, err)
	}
	return ref, nil
}
