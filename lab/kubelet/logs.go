package kubelet

import (
	"bytes"
	"context"
	"sync"
	"time"
)

const (
	// maxLines bounds what is kept of one attempt; older lines are dropped, as
	// a kubelet rotates files.
	maxLines = 20000
	// maxLineBytes is where a container runtime cuts a line that does not end.
	maxLineBytes = 16 << 10
)

// line is one line with the time the runtime stamps on it.
type line struct {
	at   time.Time
	text []byte
}

// logFile is the log of one attempt of one container.
type logFile struct {
	mutex   sync.Mutex
	lines   []line
	partial []byte
	dropped int
	closed  bool
	// changed is closed and replaced whenever something is added.
	changed chan struct{}
	now     func() time.Time
}

func newLogFile(now func() time.Time) *logFile {
	return &logFile{changed: make(chan struct{}), now: now}
}

// Write takes bytes; every complete line gets its stamp now.
func (f *logFile) Write(p []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.partial = append(f.partial, p...)
	for {
		end := bytes.IndexByte(f.partial, '\n')
		switch {
		case end >= 0 && end <= maxLineBytes:
			f.add(f.partial[:end])
			f.partial = f.partial[end+1:]
		case len(f.partial) > maxLineBytes:
			f.add(f.partial[:maxLineBytes])
			f.partial = f.partial[maxLineBytes:]
		default:
			f.notify()
			return len(p), nil
		}
	}
}

func (f *logFile) add(text []byte) {
	f.lines = append(f.lines, line{at: f.now().UTC(), text: bytes.Clone(text)})
	if len(f.lines) > maxLines {
		f.lines = append([]line(nil), f.lines[maxLines/10:]...)
		f.dropped += maxLines / 10
	}
}

func (f *logFile) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// close ends the file: an unfinished line is a line.
func (f *logFile) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if len(f.partial) > 0 {
		f.add(f.partial)
		f.partial = nil
	}
	f.closed = true
	f.notify()
}

// from returns the lines with number n and above, whether more may come, and
// a channel that is closed when there is more.
func (f *logFile) from(n int) (lines []line, next int, open bool, changed <-chan struct{}) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	start := max(0, n-f.dropped)
	if start < len(f.lines) {
		lines = f.lines[start:]
	}
	return lines, f.dropped + len(f.lines), !f.closed, f.changed
}

// await waits for more, the end of ctx, or nothing when the file is closed.
func await(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}
