package config

import (
	"time"

	"gpumedic/incident"
)

// Version of this build, set by the linker; reports carry it.
var Version = "unknown"

// Config is read by the front door and by workers alike.
type Config struct {
	Temporal   Temporal   `yaml:"temporal"`
	Evidence   Evidence   `yaml:"evidence"`
	Kubernetes Kubernetes `yaml:"kubernetes"`
	Prometheus Prometheus `yaml:"prometheus"`
	Slack      Slack      `yaml:"slack"`
	FrontDoor  FrontDoor  `yaml:"front_door"`
	Targets    Targets    `yaml:"targets"`
	// Runbooks is a folder of further runbooks; "" = the built-in ones only.
	Runbooks string `yaml:"runbooks"`
	Log      Log    `yaml:"log"`
	// Incident is pinned into every incident when it opens.
	Incident incident.Settings `yaml:"incident"`
}

// Temporal says where the Temporal cluster is. An empty address means the
// profile of Temporal's own environment configuration (TEMPORAL_ADDRESS and
// so on), which is also where TLS and API keys are set.
type Temporal struct {
	Address   string `yaml:"address"`
	Namespace string `yaml:"namespace"`
	// Profile of Temporal's configuration file; "" = its default.
	Profile string `yaml:"profile"`
}

// Evidence says where evidence, reports and bundles are kept.
type Evidence struct {
	// URL of a bucket: file:///var/lib/gpumedic/evidence, s3://bucket?region=...
	URL string `yaml:"url"`
}

// Kubernetes says which API server a worker looks after. Both empty: the
// pod's own service account, else the default kubeconfig.
type Kubernetes struct {
	Kubeconfig string `yaml:"kubeconfig"`
	Context    string `yaml:"context"`
}

// Slack holds the app's credentials, by reference only. Without a bot token
// gpumedic does not speak in Slack.
type Slack struct {
	BotToken Secret `yaml:"bot_token"`
	// AppToken opens Socket Mode (mode: socket, the default).
	AppToken Secret `yaml:"app_token"`
	// SigningSecret proves interactions in mode http.
	SigningSecret Secret `yaml:"signing_secret"`
	// Mode is "socket" or "http".
	Mode string `yaml:"mode"`
	// APIURL points to another Slack, for rehearsals; "" = Slack's own.
	APIURL string `yaml:"api_url"`
}

// FrontDoor is the HTTP server of `gpumedic serve`.
type FrontDoor struct {
	Listen string `yaml:"listen"`
	// Token that Alertmanager must present; needed beyond loopback.
	Token Secret `yaml:"token"`
	// MaxBodyBytes and MaxAlerts bound one delivery.
	MaxBodyBytes int64 `yaml:"max_body_bytes"`
	MaxAlerts    int   `yaml:"max_alerts"`
	// URL under which people reach the console, for links; "" = no links.
	URL string `yaml:"url"`
}

// Targets maps alert labels to targets: for each field the label names that
// are tried in order. Kinds maps label names to the kind they name, narrowest
// workload first.
type Targets struct {
	Cluster   []string      `yaml:"cluster"`
	Namespace []string      `yaml:"namespace"`
	Kinds     []KindOfLabel `yaml:"kinds"`
}

// KindOfLabel says that a label's value is the name of an object of this kind.
type KindOfLabel struct {
	Label string `yaml:"label"`
	Kind  string `yaml:"kind"`
}

// Log says how much is logged, and how.
type Log struct {
	// Level is trace, debug, info, warn or error.
	Level string `yaml:"level"`
	JSON  bool   `yaml:"json"`
}

// Default is the only place of defaults. It is complete: a missing file means
// these values.
func Default() Config {
	return Config{
		Temporal:   Temporal{Namespace: "gpumedic"},
		Evidence:   Evidence{URL: "file:///var/lib/gpumedic/evidence"},
		Prometheus: defaultPrometheus(),
		Slack:      Slack{Mode: "socket"},
		FrontDoor:  FrontDoor{Listen: "127.0.0.1:8420", MaxBodyBytes: 4 << 20, MaxAlerts: 500},
		Targets:    defaultTargets(),
		Log:        Log{Level: "info"},
		Incident:   defaultSettings(),
	}
}

func defaultTargets() Targets {
	return Targets{
		Cluster:   []string{"cluster", "k8s_cluster"},
		Namespace: []string{"namespace", "exported_namespace"},
		Kinds: []KindOfLabel{
			{"jobset_name", "JobSet"}, {"pytorchjob", "PyTorchJob"}, {"mpijob", "MPIJob"}, {"trainjob", "TrainJob"}, {"rayjob", "RayJob"},
			{"job_name", "Job"}, {"label_batch_kubernetes_io_job_name", "Job"},
			{"exported_pod", "Pod"}, {"pod", "Pod"}, {"deployment", "Deployment"},
			{"node", "Node"}, {"Hostname", "Node"}, {"hostname", "Node"},
		},
	}
}

func defaultSettings() incident.Settings {
	return incident.Settings{
		Cluster:    "default",
		StaleAfter: 6 * time.Hour,
		Approval: incident.ApprovalSettings{
			Deadline: 30 * time.Minute, Reminder: 10 * time.Minute,
			Quorum: map[incident.Risk]int{incident.RiskMedium: 1, incident.RiskHigh: 2},
		},
		CommTest: incident.CommTestSettings{
			Tool:        "torch",
			GPUsPerNode: 8, SlowBelow: 0.5, StartDeadline: 5 * time.Minute, Deadline: 5 * time.Minute,
			MaxRounds: 24, MaxBytes: 1 << 30,
			Tolerations: []incident.Toleration{{Key: "nvidia.com/gpu", Operator: "Exists"}},
		},
		IOProbe: incident.IOProbeSettings{
			Enabled: true, MaxBytes: 2 << 30, StartDeadline: time.Minute, Deadline: 2 * time.Minute,
			SlowMBps: 100, SlowSmallRead: 5 * time.Millisecond,
		},
		Fabric: incident.FabricSettings{
			LeafLabels:    []string{"network.gpumedic.io/leaf", "topology.gke.io/subblock", "topology.k8s.aws/network-node-layer-3"},
			RackLabels:    []string{"network.gpumedic.io/rack", "topology.kubernetes.io/rack"},
			ZoneLabels:    []string{"topology.kubernetes.io/zone"},
			RDMAResources: []string{"rdma/", "vpc.amazonaws.com/efa", "nvidia.com/hostdev"},
			Interfaces:    []string{"eth0"},
		},
		Logs:   incident.LogSettings{HeadBytes: 1 << 20, TailBytes: 4 << 20, Parallel: 16},
		Verify: incident.VerifySettings{Deadline: 15 * time.Minute, Proof: 24 * time.Hour},
		Governor: incident.GovernorSettings{
			MaxPerDomain: 1, MaxShare: 0.1, MaxPerHour: 2, LeaseTTL: 30 * time.Minute, IsolatedFor: 24 * time.Hour,
		},
	}
}
