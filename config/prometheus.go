package config

import (
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// Prometheus says which server, or anything that speaks its HTTP API (Thanos,
// Mimir, VictoriaMetrics), knows the cluster's metrics. Without a URL all
// questions to metrics are answered with unknown.
type Prometheus struct {
	URL string `yaml:"url"`
	// Token is sent as bearer token; a file is read anew when it changes.
	Token Secret `yaml:"token"`
	// CAFile holds the authorities that may have signed the server's
	// certificate; "" = the system's.
	CAFile string `yaml:"ca_file"`
	// Timeout bounds one query.
	Timeout time.Duration `yaml:"timeout"`
	// Window is how far back curves go.
	Window time.Duration `yaml:"window"`
	// Matchers are added to every query, label to value, where one server
	// knows several clusters.
	Matchers map[string]string `yaml:"matchers"`
	Labels   PrometheusLabels  `yaml:"labels"`
}

// PrometheusLabels says by which labels series name pods and nodes. Scrape
// configurations differ; each list is tried in order until there is a series.
type PrometheusLabels struct {
	Pods []PodLabels `yaml:"pods"`
	// Nodes lists labels whose value is a node's name, with or without a port.
	Nodes []string `yaml:"nodes"`
}

// PodLabels are the two labels that name a pod together.
type PodLabels struct {
	Namespace string `yaml:"namespace"`
	Pod       string `yaml:"pod"`
}

func defaultPrometheus() Prometheus {
	return Prometheus{
		Timeout: 10 * time.Second, Window: time.Hour,
		Labels: PrometheusLabels{
			Pods:  []PodLabels{{"exported_namespace", "exported_pod"}, {"namespace", "pod"}},
			Nodes: []string{"node", "Hostname", "hostname", "nodename", "kubernetes_node", "instance"},
		},
	}
}

// labelName is what Prometheus allows as name of a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (c *checker) prometheus(p Prometheus) {
	place, err := url.Parse(p.URL)
	plain := err == nil && (place.Scheme == "http" || place.Scheme == "https") && place.Host != ""
	c.need(p.URL == "" || plain, "prometheus.url", "must be a URL such as http://prometheus.monitoring:9090")
	c.need(!plain || place.User == nil, "prometheus.url", "must not hold a password; use prometheus.token")
	c.secret("prometheus.token", p.Token)
	c.positive("prometheus.timeout", p.Timeout)
	c.need(p.Timeout <= 20*time.Second, "prometheus.timeout", "must be at most 20s, a check has half a minute")
	c.need(p.Window >= 20*time.Minute && p.Window <= 24*time.Hour, "prometheus.window", "must be between 20m and 24h; growth cannot be told from less")
	for name := range p.Matchers {
		c.need(labelName.MatchString(name), "prometheus.matchers", strconv.Quote(name)+" is no name of a label")
	}
	c.prometheusLabels(p.Labels)
}

func (c *checker) prometheusLabels(l PrometheusLabels) {
	c.need(len(l.Pods) > 0, "prometheus.labels.pods", "must name at least one pair of labels")
	for i, pair := range l.Pods {
		good := labelName.MatchString(pair.Namespace) && labelName.MatchString(pair.Pod)
		c.need(good, "prometheus.labels.pods."+strconv.Itoa(i), "needs namespace and pod, both names of labels")
	}
	c.need(len(l.Nodes) > 0, "prometheus.labels.nodes", "must name at least one label")
	for i, name := range l.Nodes {
		c.need(labelName.MatchString(name), "prometheus.labels.nodes."+strconv.Itoa(i), "must be the name of a label")
	}
}
