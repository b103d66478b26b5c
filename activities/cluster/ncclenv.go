package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/steps"
)

// Variables that decide which way NCCL goes.
const (
	envIBDisable = "NCCL_IB_DISABLE"
	envNet       = "NCCL_NET"
	envInterface = "NCCL_SOCKET_IFNAME"
)

// deadVariables are read by no NCCL that is in use, with what became of them.
var deadVariables = map[string]string{
	"NCCL_IB_CUDA_SUPPORT":       "it was removed in NCCL 2.4; GPUDirect RDMA is steered by NCCL_NET_GDR_LEVEL",
	"NCCL_IB_GDR_LEVEL":          "it was renamed to NCCL_NET_GDR_LEVEL in NCCL 2.4",
	"NCCL_RINGS":                 "it was removed before NCCL 2.5; rings are found by themselves",
	"NCCL_LL_THRESHOLD":          "it was removed before NCCL 2.5; NCCL_PROTO chooses protocols",
	"NCCL_TREE_THRESHOLD":        "it was removed before NCCL 2.5; NCCL_ALGO chooses algorithms",
	"NCCL_SINGLE_RING_THRESHOLD": "it was removed before NCCL 2.5",
	"NCCL_THREAD_THRESHOLD":      "it was removed before NCCL 2.5",
	"NCCL_CHECKS_DISABLE":        "it was removed; checks are chosen by NCCL_CHECK_POINTERS, in new releases by NCCL_CHECK_MODE",
	"NCCL_WORK_FIFO_DEPTH":       "it was removed in NCCL 2.21",
}

// agingVariables still work and ought to be replaced.
var agingVariables = map[string]string{
	"NCCL_MIN_NCHANNELS":        "since NCCL 2.17 it is NCCL_MIN_CTAS",
	"NCCL_MAX_NCHANNELS":        "since NCCL 2.17 it is NCCL_MAX_CTAS",
	"NCCL_CHECK_POINTERS":       "since NCCL 2.29 it is NCCL_CHECK_MODE",
	"NCCL_ASYNC_ERROR_HANDLING": "it is PyTorch's, since 2.2 under the name TORCH_NCCL_ASYNC_ERROR_HANDLING",
	"NCCL_BLOCKING_WAIT":        "it is PyTorch's, since 2.2 under the name TORCH_NCCL_BLOCKING_WAIT",
	"NCCL_DESYNC_DEBUG":         "it is PyTorch's, since 2.2 under the name TORCH_NCCL_DESYNC_DEBUG",
}

// ownVariables may differ between ranks: they name the host or a file of it.
var ownVariables = []string{"NCCL_HOSTID", "NCCL_DEBUG_FILE", "NCCL_TOPO_DUMP_FILE", "NCCL_GRAPH_DUMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_PIPE_FILE"}

// CheckNCCLEnv answers D2 from the environment that the pods declare.
func (h *Hands) CheckNCCLEnv(ctx context.Context, params steps.CheckParams) (steps.CheckResult, error) {
	questions := []string{incident.EnvDiffers, incident.EnvDead, incident.EnvRDMADisabled, incident.EnvInterface}
	workload, err := h.loadWorkload(ctx, params.Workload)
	if err != nil {
		return steps.CheckResult{}, err
	}
	environments, err := h.environments(ctx, workload)
	if err != nil {
		return unanswered(ctx, steps.CheckNCCLEnv, workload.Target, err, questions...)
	}
	survey := survey{target: workload.Target, environments: environments}
	findings := slices.Concat(survey.differs(), survey.dead(), survey.rdmaDisabled(), survey.socketInterface())
	return steps.CheckResult{Findings: findings}, nil
}

// environments resolves what the ranks' pods declare. Ranks without pods are
// an error: nothing can be said.
func (h *Hands) environments(ctx context.Context, workload incident.Workload) ([]environment, error) {
	now, found, err := h.reread(ctx, workload)
	if err != nil {
		return nil, err
	}
	pods := map[string]corev1.Pod{}
	for _, pod := range found.pods {
		pods[pod.Name] = pod
	}
	reader := h.newEnvReader(workload.Target.Namespace)
	var environments []environment
	for _, rank := range now.Ranks {
		if pod, there := pods[rank.Pod]; there {
			environments = append(environments, reader.read(ctx, rank, pod))
		}
	}
	if len(environments) == 0 {
		return nil, fmt.Errorf("%s", noPods(now))
	}
	return environments, nil
}

// survey is what all ranks declare.
type survey struct {
	target       incident.Target
	environments []environment
}

func (s survey) finding(id string, state incident.State, subject, value, why string) incident.Finding {
	finding := incident.Finding{ID: id, Check: steps.CheckNCCLEnv, State: state, Subject: subject, Value: value, Why: why}
	if state == incident.Yes {
		finding.Evidence = []string{objectFile("Pod", s.environments[0].rank.Pod)}
	}
	return finding
}

func (s survey) none(id, why string) []incident.Finding {
	return []incident.Finding{s.finding(id, incident.No, subjectOf(s.target), "", why)}
}

// variant is one value of a variable, or its absence, with who has it.
type variant struct {
	setting
	set   bool
	ranks []string
}

func (v variant) String() string {
	who := "rank " + incident.Some(v.ranks)
	if len(v.ranks) > 1 {
		who = "ranks " + incident.Some(v.ranks)
	}
	switch {
	case v.unknown != "":
		return "unknown on " + who
	case !v.set:
		return "not set on " + who
	}
	return fmt.Sprintf("%q on %s", v.value, who)
}

// variants groups the ranks by what they have for a variable, in the order of
// the ranks.
func (s survey) variants(name string) []variant {
	var found []variant
	for _, env := range s.environments {
		value, set := env.get(name)
		value.value = redact.Env(name, value.value)
		at := slices.IndexFunc(found, func(v variant) bool { return v.setting == value && v.set == set })
		if at < 0 {
			found = append(found, variant{setting: value, set: set})
			at = len(found) - 1
		}
		found[at].ranks = append(found[at].ranks, place(env.rank))
	}
	return found
}

// names lists the variables of NCCL and of PyTorch's use of it that any rank
// declares, sorted.
func (s survey) names() []string {
	all := map[string]bool{}
	for _, env := range s.environments {
		for name := range env.vars {
			if strings.HasPrefix(name, "NCCL_") || strings.HasPrefix(name, "TORCH_NCCL_") || name == "GLOO_SOCKET_IFNAME" {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// differs: the same variable with other values makes ranks that do not fit.
func (s survey) differs() []incident.Finding {
	var findings []incident.Finding
	for _, name := range s.names() {
		variants := s.variants(name)
		if len(variants) < 2 || slices.Contains(ownVariables, name) || slices.ContainsFunc(variants, func(v variant) bool { return v.own }) {
			continue
		}
		var words []string
		for _, variant := range variants {
			words = append(words, variant.String())
		}
		state := incident.Yes
		if slices.ContainsFunc(variants, func(v variant) bool { return v.unknown != "" }) {
			state = incident.Unknown
		}
		why := fmt.Sprintf("%s differs between ranks: %s", name, incident.Some(words))
		findings = append(findings, s.finding(incident.EnvDiffers, state, "env/"+name, incident.Some(words), why))
	}
	if findings == nil {
		return s.none(incident.EnvDiffers, fmt.Sprintf("the pods of all %d ranks declare the same NCCL environment", len(s.environments)))
	}
	return findings
}

// dead: settings that do nothing, and that somebody relies on.
func (s survey) dead() []incident.Finding {
	var findings []incident.Finding
	var aging []string
	for _, name := range s.names() {
		if why, old := agingVariables[name]; old {
			aging = append(aging, name+": "+why)
		}
		if why, dead := deadVariables[name]; dead {
			findings = append(findings, s.finding(incident.EnvDead, incident.Yes, "env/"+name, s.variants(name)[0].value,
				fmt.Sprintf("%s is set and no NCCL in use reads it: %s", name, why)))
		}
	}
	if findings != nil {
		return findings
	}
	why := "no variable is set that NCCL does not read any more"
	if len(aging) > 0 {
		why += "; outdated are " + strings.Join(aging, "; ")
	}
	return s.none(incident.EnvDead, why)
}

// rdmaDisabled: somebody told NCCL to use sockets.
func (s survey) rdmaDisabled() []incident.Finding {
	findings, unknown := s.matching(incident.EnvRDMADisabled, envIBDisable, turnsOn, "turns InfiniBand and RoCE off, so NCCL uses TCP sockets")
	more, also := s.matching(incident.EnvRDMADisabled, envNet, func(value string) bool { return strings.EqualFold(value, "Socket") }, "makes NCCL use TCP sockets")
	findings, unknown = append(findings, more...), orWord(unknown, also)
	switch {
	case len(findings) > 0:
		return findings
	case unknown != "":
		return []incident.Finding{s.finding(incident.EnvRDMADisabled, incident.Unknown, subjectOf(s.target), "", unknown)}
	}
	return s.none(incident.EnvRDMADisabled, "the pods declare nothing that turns RDMA off")
}

// turnsOn reads a number as NCCL does: everything but 0 is on.
func turnsOn(value string) bool {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 0, 64)
	return err == nil && n != 0
}

// matching answers yes when a variable's value is a certain one on any rank;
// unknown says that some rank's value could not be read.
func (s survey) matching(id, name string, bad func(string) bool, effect string) (findings []incident.Finding, unknown string) {
	for _, variant := range s.variants(name) {
		switch {
		case variant.unknown != "":
			unknown = fmt.Sprintf("%s on ranks %s is not known: %s", name, incident.Some(variant.ranks), variant.unknown)
		case variant.set && bad(variant.value):
			why := fmt.Sprintf("%s=%s on %d of %d ranks %s", name, variant.value, len(variant.ranks), len(s.environments), effect)
			findings = append(findings, s.finding(id, incident.Yes, "env/"+name, name+"="+variant.value, why))
		}
	}
	return findings, unknown
}

// socketInterface tells what NCCL is bound to.
func (s survey) socketInterface() []incident.Finding {
	var findings []incident.Finding
	for _, variant := range s.variants(envInterface) {
		switch {
		case variant.unknown != "":
			findings = append(findings, s.finding(incident.EnvInterface, incident.Unknown, "env/"+envInterface, "", variant.unknown))
		case variant.set && variant.value != "":
			findings = append(findings, s.finding(incident.EnvInterface, incident.Yes, "env/"+envInterface, variant.value,
				fmt.Sprintf("%s=%s on %d of %d ranks", envInterface, variant.value, len(variant.ranks), len(s.environments))))
		}
	}
	if findings == nil {
		return s.none(incident.EnvInterface, "the pods do not choose an interface; NCCL does")
	}
	return findings
}
