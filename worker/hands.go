package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/slack-go/slack"
	"go.temporal.io/sdk/activity"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"gpumedic/activities/chat"
	"gpumedic/activities/cluster"
	"gpumedic/activities/commtest"
	"gpumedic/activities/evidence"
	"gpumedic/activities/governor"
	"gpumedic/activities/ioprobe"
	"gpumedic/activities/metrics"
	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/report/bundle"
	"gpumedic/runbooks"
	"gpumedic/steps"
)

// hands are everything that touches the world, wired once.
type hands struct {
	store    *bundle.Store
	cluster  *cluster.Hands
	commtest *commtest.Hands
	ioprobe  *ioprobe.Hands
	chat     *chat.Hands
	evidence *evidence.Hands
	governor *governor.Hands
	metrics  *metrics.Hands
}

// newHands wires the hands. It connects to nothing yet: what cannot be reached
// is waited for by the steps that need it.
func newHands(ctx context.Context, cfg config.Config, log hclog.Logger) (*hands, error) {
	store, err := bundle.Open(ctx, cfg.Evidence.URL)
	if err != nil {
		return nil, err
	}
	h := &hands{store: store, evidence: evidence.New(store, log), governor: &governor.Hands{Log: log.Named("governor")}}
	if err := h.connectCluster(cfg, log); err != nil {
		h.close()
		return nil, err
	}
	if h.metrics, err = newMetrics(cfg.Prometheus, store, log); err != nil {
		h.close()
		return nil, err
	}
	if h.chat, err = newChat(cfg.Slack, log); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *hands) close() { h.store.Close() }

// connectCluster makes the clients of one API server.
func (h *hands) connectCluster(cfg config.Config, log hclog.Logger) error {
	way, err := restConfig(cfg.Kubernetes)
	if err != nil {
		return &usageError{fmt.Errorf("reading the way to the API server: %w", err)}
	}
	way.UserAgent = "gpumedic/" + config.Version
	way.QPS, way.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(way)
	if err != nil {
		return &usageError{fmt.Errorf("making the cluster's client: %w", err)}
	}
	objects, err := dynamic.NewForConfig(way)
	if err != nil {
		return &usageError{fmt.Errorf("making the cluster's client: %w", err)}
	}
	signatures, err := runbooks.Classifier(cfg.Runbooks)
	if signatures == nil {
		return &usageError{err}
	}
	if err != nil { // the built-in ones are good; the site's broken ones are told and left out
		log.Warn("some signatures were left out", "error", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	h.cluster = cluster.New(kube, objects, mapper, h.store, signatures, log)
	h.cluster.Cluster, h.cluster.Build = cfg.Incident.Cluster, config.Version
	h.commtest = &commtest.Hands{Kube: kube, Dynamic: objects, Store: h.store, Log: log.Named("commtest")}
	h.ioprobe = &ioprobe.Hands{Kube: kube, Store: h.store, Log: log.Named("ioprobe")}
	return nil
}

// restConfig is the pod's service account, a named kubeconfig, or the default one.
func restConfig(cfg config.Kubernetes) (*rest.Config, error) {
	if cfg.Kubeconfig == "" && cfg.Context == "" {
		if inside, err := rest.InClusterConfig(); err == nil {
			return inside, nil
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}).ClientConfig()
}

// newChat speaks in Slack; without a token there is nothing to speak with, and
// the steps say so.
func newChat(cfg config.Slack, log hclog.Logger) (*chat.Hands, error) {
	token, err := cfg.BotToken.Read()
	if err != nil {
		return nil, &usageError{fmt.Errorf("connecting to Slack: %w", err)}
	}
	var options []slack.Option
	if cfg.APIURL != "" {
		options = append(options, slack.OptionAPIURL(cfg.APIURL))
	}
	return &chat.Hands{Client: slack.New(token, options...), Log: log.Named("chat"), Repeat: repeated}, nil
}

// newMetrics asks a Prometheus; where none is configured there is nobody to ask,
// and the steps say so.
func newMetrics(cfg config.Prometheus, store *bundle.Store, log hclog.Logger) (*metrics.Hands, error) {
	settings := metrics.Settings{Window: cfg.Window, Timeout: cfg.Timeout, Matchers: cfg.Matchers, Nodes: cfg.Labels.Nodes}
	for _, pair := range cfg.Labels.Pods {
		settings.Pods = append(settings.Pods, metrics.PodLabels(pair))
	}
	if cfg.URL == "" {
		return metrics.New(nil, settings, store, log), nil
	}
	way := metrics.Way{URL: cfg.URL, TokenFile: cfg.Token.File, CAFile: cfg.CAFile}
	if cfg.Token.File == "" { // a file is read at every connection, so that it may change
		var err error
		if way.Token, err = cfg.Token.Read(); err != nil {
			return nil, &usageError{fmt.Errorf("connecting to Prometheus: %w", err)}
		}
	}
	api, err := metrics.Connect(way)
	if err != nil {
		return nil, &usageError{err}
	}
	return metrics.New(api, settings, store, log), nil
}

// repeated says whether an earlier attempt of this step may have had an effect.
func repeated(ctx context.Context) bool { return activity.GetInfo(ctx).Attempt > 1 }

// registrar is the part of a worker that takes steps.
type registrar interface {
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// register makes every step of the vocabulary known under its name; a test
// compares the two.
func (h *hands) register(w registrar) {
	for name, hand := range h.byStep() {
		w.RegisterActivityWithOptions(hand, activity.RegisterOptions{Name: name})
	}
}

func (h *hands) byStep() map[string]any {
	return map[string]any{
		steps.ResolveTarget:   h.cluster.ResolveTarget,
		steps.CollectEvidence: h.cluster.CollectEvidence,
		steps.CheckWorkload:   h.cluster.CheckWorkload,
		steps.CheckNCCLEnv:    h.cluster.CheckNCCLEnv,
		steps.CheckPolicies:   h.cluster.CheckPolicies,
		steps.CheckPlacement:  h.cluster.CheckPlacement,
		steps.CheckRDMA:       h.cluster.CheckRDMA,
		steps.CheckMemory:     h.cluster.CheckMemory,
		steps.CheckCapacity:   h.cluster.CheckCapacity,
		steps.CheckVolumes:    h.cluster.CheckVolumes,
		steps.CheckLoading:    h.cluster.CheckLoading,
		steps.CheckRankLogs:   h.cluster.CheckRankLogs,
		steps.AwaitRanks:      h.cluster.AwaitRanks,
		steps.PlanRemedy:      h.cluster.PlanRemedy,
		steps.TakeSnapshot:    h.cluster.TakeSnapshot,
		steps.SuspendWorkload: h.cluster.SuspendWorkload,
		steps.ResumeWorkload:  h.cluster.ResumeWorkload,
		steps.PrepareChange:   h.cluster.PrepareChange,
		steps.ApplyChange:     h.cluster.ApplyChange,
		steps.UndoChange:      h.cluster.UndoChange,
		steps.PlanCommTest:    h.commtest.PlanCommTest,
		steps.CheckTestRoom:   h.commtest.CheckTestRoom,
		steps.RunCommTest:     h.commtest.RunCommTest,
		steps.CleanCommTest:   h.commtest.CleanCommTest,
		steps.RunIOProbe:      h.ioprobe.RunIOProbe,
		steps.CleanIOProbe:    h.ioprobe.CleanIOProbe,
		steps.PostCard:        h.chat.PostCard,
		steps.PostStory:       h.chat.PostStory,
		steps.WriteReport:     h.evidence.WriteReport,
		steps.AcquireLease:    h.governor.AcquireLease,
		steps.ReleaseLease:    h.governor.ReleaseLease,
		steps.FindHolder:      h.governor.FindHolder,

		steps.CheckGPUMetrics:  h.metrics.CheckGPUMetrics,
		steps.CheckDataMetrics: h.metrics.CheckDataMetrics,
	}
}

var _ incident.EvidenceStore = (*bundle.Store)(nil)
