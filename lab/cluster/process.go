package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// stopWithin is how long a process gets to end by itself. It is short because
// nothing of a control plane is kept.
const stopWithin = time.Second

// process is one child with its log file.
type process struct {
	name     string
	cmd      *exec.Cmd
	log      *os.File
	stopping atomic.Bool
	done     chan struct{} // closed when it has ended
	err      error         // how; read it after done
}

// run starts a component of the multi-call binary. The child dies with us.
func run(binary, dir string, logger hclog.Logger, name string, flags ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	cmd := exec.Command(binary, append([]string{name}, flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A group of its own: Ctrl-C reaches us alone, and we stop in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go p.attend(started, logger)
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("starting %s from %s: %w", name, binary, err)
	}
	return p, nil
}

// attend starts the process and waits for its end, both on one thread of its
// own: the kernel kills a child with Pdeathsig when the thread that started it
// ends, not when the whole parent does.
func (p *process) attend(started chan<- error, logger hclog.Logger) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	defer p.log.Close()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	if !p.stopping.Load() {
		logger.Error("a part of the control plane ended", "part", p.name, "error", p.err, "log", p.log.Name())
	}
}

// stop asks, waits, and then insists.
func (p *process) stop() {
	p.stopping.Store(true)
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill() // as above
		<-p.done
	}
}

// died is an error with the last lines of the log when the process has ended.
func (p *process) died() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	words := tail(p.log.Name(), lastWords)
	if strings.Contains(words, syscall.EADDRINUSE.Error()) {
		return fmt.Errorf("%s: %w", p.name, errPortTaken)
	}
	return fmt.Errorf("%s ended (%w); its last words:\n%s", p.name, errors.Join(p.err, errEnded), words)
}

// lastWords is how many lines of a log an error shows.
const lastWords = 8

var (
	errEnded     = errors.New("while it should run")
	errPortTaken = errors.New("a port that was free is taken")
)

func tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// until asks again and again until ready says nil, a process dies, or ctx ends.
func until(ctx context.Context, what string, processes []*process, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, p := range processes {
			if dead := p.died(); dead != nil {
				return fmt.Errorf("waiting for %s: %w", what, dead)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last answer: %w)", what, context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
