package rig

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"gpumedic/incident"
)

// program is one of gpumedic's own two, as a child process.
type program struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

// startPrograms writes the configuration and starts worker and front door.
func (r *Rig) startPrograms(ctx context.Context) error {
	r.opts.Progress("starting gpumedic")
	if err := r.writeConfig(); err != nil {
		return err
	}
	if err := r.StartWorker(); err != nil {
		return err
	}
	r.later(func() { r.worker.stop() })
	var err error
	if r.door, err = r.run("gpumedic", "serve", "--config", r.ConfigFile); err != nil {
		return err
	}
	r.later(r.door.stop)
	return r.awaitDoor(ctx)
}

// StartWorker starts the worker, again after KillWorker.
func (r *Rig) StartWorker() error {
	worker, err := r.run("gpumedic-worker", "--config", r.ConfigFile)
	if err == nil {
		r.worker = worker
	}
	return err
}

// KillWorker ends the worker as a machine that loses power would.
func (r *Rig) KillWorker() error {
	if err := r.worker.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing the worker: %w", err)
	}
	<-r.worker.done
	return nil
}

// run starts a program; what it says is appended to a file of its name.
func (r *Rig) run(name string, args ...string) (*program, error) {
	log, err := os.OpenFile(filepath.Join(r.opts.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	secrets := r.Slack.Options()
	cmd := exec.Command(filepath.Join(r.opts.Bin, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "TEMPORAL_TLS=false",
		"LAB_SLACK_BOT_TOKEN="+secrets.BotToken, "LAB_SLACK_APP_TOKEN="+secrets.AppToken, "LAB_DOOR_TOKEN="+r.Token)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("starting %s: %w (make build builds it)", name, err)
	}
	p := &program{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill() // as above
		<-p.done
	}
	p.log.Close()
}

// awaitDoor waits until the front door is ready for alerts and clicks.
func (r *Rig) awaitDoor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Door+"/readyz", nil)
		if err != nil {
			return fmt.Errorf("asking the front door: %w", err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the front door (its log is %s): %w", r.door.log.Name(), ctx.Err())
		case <-r.door.done:
			return fmt.Errorf("the front door ended; its log is %s", r.door.log.Name())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// writeConfig writes what a site would write, for this lab.
func (r *Rig) writeConfig() error {
	kubeconfig, err := r.Gate.WriteKubeconfig(r.opts.Dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("finding a port for the front door: %w", err)
	}
	address := listener.Addr().String()
	listener.Close()
	r.Door = "http://" + address
	data, err := yaml.Marshal(r.config(kubeconfig, address))
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	r.ConfigFile = filepath.Join(r.opts.Dir, "gpumedic.yaml")
	return os.WriteFile(r.ConfigFile, data, 0o600)
}

// section is a part of the configuration as YAML has it.
type section = map[string]any

func (r *Rig) config(kubeconfig, address string) section {
	return section{
		"temporal":   section{"address": r.Temporal.Address(), "namespace": r.Temporal.Namespace()},
		"evidence":   section{"url": "file://" + filepath.Join(r.opts.Dir, "evidence")},
		"kubernetes": section{"kubeconfig": kubeconfig},
		"prometheus": section{"url": r.Metrics.URL()},
		"slack": section{
			"bot_token": section{"env": "LAB_SLACK_BOT_TOKEN"}, "app_token": section{"env": "LAB_SLACK_APP_TOKEN"},
			"api_url": r.Slack.URL() + "/api/",
		},
		"front_door": section{"listen": address, "token": section{"env": "LAB_DOOR_TOKEN"}, "url": r.Door},
		"log":        section{"level": "debug"},
		"incident": section{
			"cluster": ClusterName, "slack_channel": r.Slack.Options().Channels[0].ID,
			"approval": section{
				"deadline": "10m", "reminder": "5m",
				"approvers": []section{{"name": "on-call", "slack": Approver, "login": login()}, {"name": "platform", "slack": Second}},
				"quorum":    section{string(incident.RiskMedium): quorum(incident.RiskMedium), string(incident.RiskHigh): quorum(incident.RiskHigh)},
			},
			"comm_test": section{
				"enabled": true, "image": "lab.gpumedic.io/commtest:1", "gpus_per_node": 4,
				"resources":           section{r.opts.Topology.RDMA: "1"},
				"expected_busbw_gbps": 370, "start_deadline": "30s", "deadline": "60s", "max_rounds": 30,
			},
			"verify": section{"deadline": "60s"},
		},
	}
}

// ClusterName is the lab's name in incident ids.
const ClusterName = "lab"

// Slack users who may approve in the lab; a plan of high risk needs both.
const (
	Approver = "U0ONCALL"
	Second   = "U0PLATFORM"
)

// quorum is how many must agree to a plan.
func quorum(risk incident.Risk) int {
	if risk == incident.RiskHigh {
		return 2
	}
	return 1
}

// login is who runs the lab; they may approve on the command line.
func login() string {
	if me, err := user.Current(); err == nil {
		return me.Username
	}
	return "nobody"
}
