package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopWithin is how long a process gets to end by itself.
const stopWithin = 5 * time.Second

// process is one child with its log file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error
}

// run starts a component of the multi-call binary. The child dies with us.
func run(binary, dir, name string, flags ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	cmd := exec.Command(binary, append([]string{name}, flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A group of its own: Ctrl-C reaches us alone, and we stop in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("starting %s: %w (make controlplane builds it)", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop asks, waits, and then insists.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill() // as above
		<-p.done
	}
	p.log.Close()
}

// died is an error with the last lines of the log when the process has ended.
func (p *process) died() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%w); its last words:\n%s", p.name, errors.Join(p.err, errEnded), tail(p.log.Name(), 8))
	default:
		return nil
	}
}

var errEnded = errors.New("while it should run")

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
