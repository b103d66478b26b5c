package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gpumedic/incident"
)

// checker collects what is wrong with values, each with the line of its key.
type checker struct {
	file     string
	root     *yaml.Node
	problems Problems
}

// validate checks what types cannot say.
func validate(path string, data []byte, cfg Config) Problems {
	c := &checker{file: path}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 { // syntax was reported by decode
		c.root = doc.Content[0]
	}
	c.places(cfg)
	c.prometheus(cfg.Prometheus)
	c.slack(cfg)
	c.frontDoor(cfg.FrontDoor)
	c.settings(cfg.Incident)
	return c.problems
}

func (c *checker) places(cfg Config) {
	c.need(cfg.Temporal.Namespace != "", "temporal.namespace", "must not be empty")
	_, err := url.Parse(cfg.Evidence.URL)
	c.need(err == nil && strings.Contains(cfg.Evidence.URL, "://"), "evidence.url", "must be a bucket's URL such as file:///var/lib/gpumedic/evidence or s3://bucket")
	levels := []string{"trace", "debug", "info", "warn", "error"}
	c.need(slices.Contains(levels, cfg.Log.Level), "log.level", "must be one of "+strings.Join(levels, ", "))
	c.need(len(cfg.Targets.Kinds) > 0, "targets.kinds", "must name at least one label, else no alert has a target")
	for i, kind := range cfg.Targets.Kinds {
		c.need(kind.Label != "" && kind.Kind != "", fmt.Sprintf("targets.kinds.%d", i), "needs both label and kind")
	}
}

func (c *checker) slack(cfg Config) {
	names := []string{"bot_token", "app_token", "signing_secret"}
	for i, secret := range []Secret{cfg.Slack.BotToken, cfg.Slack.AppToken, cfg.Slack.SigningSecret} {
		c.secret("slack."+names[i], secret)
	}
	c.need(slices.Contains([]string{"socket", "http"}, cfg.Slack.Mode), "slack.mode", `must be "socket" or "http"`)
	if !cfg.Slack.BotToken.Set() {
		c.need(cfg.Incident.SlackChannel == "", "incident.slack_channel", "is set, but slack.bot_token is not")
		return
	}
	c.need(cfg.Incident.SlackChannel != "", "incident.slack_channel", "must name the channel's id when slack.bot_token is set")
	c.need(cfg.Slack.Mode != "socket" || cfg.Slack.AppToken.Set(), "slack.app_token", "is needed in mode socket")
	c.need(cfg.Slack.Mode != "http" || cfg.Slack.SigningSecret.Set(), "slack.signing_secret", "is needed in mode http")
}

func (c *checker) secret(key string, secret Secret) {
	c.need(secret.File == "" || secret.Env == "", key, "give either file or env, not both")
}

func (c *checker) frontDoor(door FrontDoor) {
	c.secret("front_door.token", door.Token)
	host, _, err := net.SplitHostPort(door.Listen)
	c.need(err == nil, "front_door.listen", `must be host:port such as "127.0.0.1:8420"`)
	c.need(err != nil || Loopback(host) || door.Token.Set(), "front_door.listen", "is beyond loopback, so front_door.token is needed")
	c.need(door.MaxBodyBytes > 0, "front_door.max_body_bytes", "must be above 0")
	c.need(door.MaxAlerts > 0, "front_door.max_alerts", "must be above 0")
}

// Loopback says whether only this machine can reach the host.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (c *checker) settings(s incident.Settings) {
	c.need(s.Cluster != "", "incident.cluster", "must name the cluster")
	c.need(!strings.ContainsAny(s.Cluster, "/ "), "incident.cluster", "must not contain spaces or slashes, it is part of ids")
	c.positive("incident.stale_after", s.StaleAfter)
	c.approval(s.Approval)
	c.commTest(s.CommTest)
	c.ioProbe(s.IOProbe)
	c.need(s.Logs.HeadBytes > 0 && s.Logs.TailBytes > 0, "incident.logs", "head_bytes and tail_bytes must be above 0")
	c.need(s.Logs.Parallel > 0, "incident.logs.parallel", "must be above 0")
	c.positive("incident.verify.deadline", s.Verify.Deadline)
	c.positive("incident.verify.proof", s.Verify.Proof)
	c.governor(s.Governor)
	for _, class := range slices.Sorted(maps.Keys(s.Storage.Prices)) {
		c.need(s.Storage.Prices[class] >= 0, "incident.storage.prices."+class, "must not be below 0")
	}
	c.need(len(s.Fabric.Interfaces) > 0, "incident.fabric.interfaces", "must name the pods' interface, usually eth0")
}

func (c *checker) approval(a incident.ApprovalSettings) {
	c.positive("incident.approval.deadline", a.Deadline)
	c.need(a.Reminder >= 0, "incident.approval.reminder", "must not be negative")
	for i, approver := range a.Approvers {
		key := fmt.Sprintf("incident.approval.approvers.%d", i)
		c.need(approver.Name != "" && (approver.Slack != "" || approver.Login != ""), key, "needs a name and a slack user id or a login")
		c.need(approver.Slack == "" || strings.HasPrefix(approver.Slack, "U") || strings.HasPrefix(approver.Slack, "W"), key+".slack", "must be a user id such as U012AB3CD; a display name is no identity")
	}
	for risk, count := range a.Quorum {
		known := []incident.Risk{incident.RiskLow, incident.RiskMedium, incident.RiskHigh}
		c.need(slices.Contains(known, risk), "incident.approval.quorum", fmt.Sprintf("knows low, medium and high, not %q", risk))
		c.need(count >= 1, "incident.approval.quorum", fmt.Sprintf("needs at least 1 for %s", risk))
	}
}

func (c *checker) commTest(t incident.CommTestSettings) {
	if !t.Enabled {
		return
	}
	c.need(t.Image != "" || t.Tool == "nccl-tests", "incident.comm_test.image", "must name an image with PyTorch and NCCL when comm_test is enabled")
	c.testPods(t)
	c.need(t.GPUsPerNode > 0, "incident.comm_test.gpus_per_node", "must be above 0")
	c.need(t.SlowBelow > 0 && t.SlowBelow < 1, "incident.comm_test.slow_below", "must be between 0 and 1")
	c.positive("incident.comm_test.start_deadline", t.StartDeadline)
	c.positive("incident.comm_test.deadline", t.Deadline)
	c.need(t.MaxRounds > 0, "incident.comm_test.max_rounds", "must be above 0")
	c.need(t.MaxBytes >= 1<<20, "incident.comm_test.max_bytes", "must be at least 1 MiB (1048576)")
}

// quantity is a Kubernetes quantity of bytes, as far as sizes need it.
var (
	quantity    = regexp.MustCompile(`^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$`)
	networkName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
)

// testPods checks what the communication test's pods are made of.
func (c *checker) testPods(t incident.CommTestSettings) {
	const key = "incident.comm_test."
	tools := []string{"torch", "nccl-tests", "auto"}
	c.need(slices.Contains(tools, t.Tool) || t.Tool == "", key+"tool", "must be one of "+strings.Join(tools, ", "))
	c.need(t.Tool != "nccl-tests" || t.NCCLTestsImage != "", key+"nccl_tests_image", "must name an image with nccl-tests, mpirun and sshd when comm_test.tool is nccl-tests")
	fabrics := []string{"infiniband", "roce", "efa", "tcp"}
	c.need(slices.Contains(fabrics, t.Fabric) || t.Fabric == "", key+"fabric", "must be one of "+strings.Join(fabrics, ", ")+", or empty")
	c.need(t.Fabric != "roce" || len(t.Networks) > 0 || t.HostNetwork, key+"fabric", "roce needs networks or host_network: a pod without the fabric's interface has no RoCE address")
	c.need(t.Fabric != "efa" || t.Resources["vpc.amazonaws.com/efa"] != "", key+"fabric", "efa needs resources with vpc.amazonaws.com/efa: 32 on p5, 16 on p5en, 4 on p4d")
	for i, network := range t.Networks {
		c.need(networkName.MatchString(network), fmt.Sprintf(key+"networks.%d", i), "must be namespace/name of a Multus network")
	}
	c.need(t.SharedMemory == "" || quantity.MatchString(t.SharedMemory), key+"shared_memory", "must be a size such as 16Gi")
	c.need(t.ExpectedBusBWGBps >= 0, key+"expected_busbw_gbps", "must not be negative")
	c.need(t.LocalBusBWGBps >= 0, key+"local_busbw_gbps", "must not be negative")
}

func (c *checker) ioProbe(p incident.IOProbeSettings) {
	if !p.Enabled {
		return
	}
	const key = "incident.io_probe."
	c.need(p.MaxBytes >= 1<<20, key+"max_bytes", "must be at least 1 MiB (1048576)")
	c.positive(key+"start_deadline", p.StartDeadline)
	c.need(p.Deadline >= 10*time.Second, key+"deadline", "must be at least 10s")
	c.need(p.StartDeadline+p.Deadline <= incident.IOProbeLongest, key+"deadline", "must be at most 8m, start_deadline included")
	c.need(p.SlowMBps > 0, key+"slow_mbps", "must be above 0")
	c.positive(key+"slow_small_read", p.SlowSmallRead)
}

func (c *checker) governor(g incident.GovernorSettings) {
	c.need(g.MaxPerDomain >= 0, "incident.governor.max_per_domain", "must not be negative; 0 isolates no node")
	c.need(g.MaxShare > 0 && g.MaxShare <= 1, "incident.governor.max_share", "must be above 0 and at most 1, the share of a domain's nodes")
	c.need(g.MaxPerHour >= 0, "incident.governor.max_per_hour", "must not be negative; 0 isolates no node")
	c.positive("incident.governor.lease_ttl", g.LeaseTTL)
	c.positive("incident.governor.isolated_for", g.IsolatedFor)
}

func (c *checker) positive(key string, d time.Duration) {
	c.need(d > 0, key, "must be a duration above 0")
}

// need records a problem unless ok.
func (c *checker) need(ok bool, key, text string) {
	if !ok {
		c.problems = append(c.problems, Problem{File: c.file, Line: c.line(key), Text: key + " " + text})
	}
}

// line finds the line of a dotted key, or of its nearest parent that is there.
func (c *checker) line(key string) int {
	node, line := c.root, 0
	for part := range strings.SplitSeq(key, ".") {
		if node = child(node, part, &line); node == nil {
			break
		}
	}
	return line
}

func child(node *yaml.Node, part string, line *int) *yaml.Node {
	switch {
	case node == nil:
		return nil
	case node.Kind == yaml.SequenceNode:
		var index int
		if _, err := fmt.Sscanf(part, "%d", &index); err != nil || index >= len(node.Content) {
			return nil
		}
		*line = node.Content[index].Line
		return node.Content[index]
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == part {
			*line = node.Content[i].Line
			return node.Content[i+1]
		}
	}
	return nil
}
