package ioprobe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"gpumedic/activities/testpods"
	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

const (
	// mostLog bounds what is read of the log: a probe prints a few lines.
	mostLog = 256 << 10
	// readTries and readPause: a log stands behind a kubelet that may be busy.
	readTries = 3
	readPause = 500 * time.Millisecond
	// readBound ends the wait for a kubelet that takes the call and is silent.
	readBound = 30 * time.Second
)

// read reads the probe's log, keeps it and takes it apart. A log that cannot be
// read says so in what was said; only a refusal of the API server is an error.
func (h *Hands) read(ctx context.Context, p steps.RunIOProbeParams, seen sight) (said, incident.EvidenceRef, error) {
	if seen.pod == nil {
		return said{}, incident.EvidenceRef{}, nil
	}
	if _, started := testpods.StartedAt(seen.pod, container); !started {
		return said{}, incident.EvidenceRef{}, nil
	}
	text, err := h.readLog(ctx, seen.pod)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return said{}, incident.EvidenceRef{}, testpods.Fault(err, "reading the log of the probe's pod %s/%s", seen.pod.Namespace, seen.pod.Name)
	case ctx.Err() != nil:
		return said{}, incident.EvidenceRef{}, incident.Faultf(incident.TimedOut, context.Cause(ctx), "reading the log of the probe's pod %s/%s", seen.pod.Namespace, seen.pod.Name)
	case err != nil:
		return said{broken: "its log could not be read: " + err.Error()}, incident.EvidenceRef{}, nil
	}
	name := "ioprobe/" + p.Name + ".log"
	ref, err := h.Store.Put(ctx, name, bytes.NewReader(text))
	if err != nil {
		return said{}, incident.EvidenceRef{}, incident.StoreFault(err, "keeping %s", name)
	}
	return parse(text), ref, nil
}

// readLog tries a few times.
func (h *Hands) readLog(ctx context.Context, pod *corev1.Pod) ([]byte, error) {
	for try := 1; ; try++ {
		text, err := h.stream(ctx, pod)
		if err == nil || try == readTries || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return text, err
		}
		h.log().Warn("log of the probe not read, trying again", "pod", pod.Name, "node", pod.Spec.NodeName, "error", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(readPause):
		}
	}
}

func (h *Hands) stream(ctx context.Context, pod *corev1.Pod) ([]byte, error) {
	ctx, done := context.WithTimeout(ctx, readBound)
	defer done()
	body, err := h.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(redact.Reader(body), mostLog+1))
	if err == nil && len(text) > mostLog {
		err = fmt.Errorf("it is longer than %d bytes", mostLog)
	}
	return text, err
}
