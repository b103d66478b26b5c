package frontdoor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"gpumedic/config"
	"gpumedic/incident"
	"gpumedic/starter/frontdoor"
	"gpumedic/workflows"
)

// desk is a Desk of functions; one that a test does not set must not be called.
type desk struct {
	t       *testing.T
	deliver func(hint incident.Target, alerts []incident.Alert) (string, error)
	ready   func() error
	list    func() ([]frontdoor.Entry, error)
	view    func(id string) (workflows.View, error)
}

func (d *desk) Deliver(_ context.Context, hint incident.Target, alerts []incident.Alert) (string, error) {
	if d.deliver == nil {
		d.t.Errorf("delivered %d alerts to %s", len(alerts), hint)
		return "", errors.New("must not be called")
	}
	return d.deliver(hint, alerts)
}

func (d *desk) Ready(context.Context) error { return d.ready() }

func (d *desk) List(context.Context, int) ([]frontdoor.Entry, error) { return d.list() }

func (d *desk) View(_ context.Context, id string) (workflows.View, error) { return d.view(id) }

// journal is a log that a test may read while the door writes it.
type journal struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(text string) int {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return strings.Count(j.text.String(), text)
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// open serves a door with this desk; change may alter configuration and door.
func open(t *testing.T, d *desk, change func(*config.Config)) (*frontdoor.Door, *httptest.Server, *journal) {
	t.Helper()
	d.t = t
	cfg := config.Default()
	cfg.Incident.Cluster = "lab"
	if change != nil {
		change(&cfg)
	}
	log := &journal{}
	door, err := frontdoor.New(cfg, d, hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Debug}))
	if err != nil {
		t.Fatal(err)
	}
	door.Now = func() time.Time { return noon }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { door.Handler().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	return door, server, log
}

// post sends a body to /alerts and gives the answer.
func post(t *testing.T, server *httptest.Server, body string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/alerts", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return do(t, request)
}

func get(t *testing.T, server *httptest.Server, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request)
}

func do(t *testing.T, request *http.Request) (int, string) {
	t.Helper()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestBeyondLoopbackNeedsAToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		listen string
		token  config.Secret
		err    string
	}{
		"loopback":               {"127.0.0.1:8420", config.Secret{}, ""},
		"loopback, version 6":    {"[::1]:8420", config.Secret{}, ""},
		"everywhere":             {"0.0.0.0:8420", config.Secret{}, "front_door.token is needed"},
		"no host is everywhere":  {":8420", config.Secret{}, "front_door.token is needed"},
		"a name of this machine": {"door.example.org:8420", config.Secret{}, "front_door.token is needed"},
		"everywhere with token":  {"0.0.0.0:8420", config.Secret{File: token}, ""},
		"empty token":            {"0.0.0.0:8420", config.Secret{File: empty}, "is empty"},
		"no port":                {"127.0.0.1", config.Secret{}, "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			cfg.FrontDoor.Listen, cfg.FrontDoor.Token = test.listen, test.token
			_, err := frontdoor.New(cfg, &desk{t: t}, hclog.NewNullLogger())
			if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
}

func TestReadyTellsWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		temporal, slack error
		status          int
		says            []string
	}{
		"all is well":   {nil, nil, http.StatusOK, []string{"ready"}},
		"Temporal away": {errors.New("temporal is away"), nil, http.StatusServiceUnavailable, []string{"temporal is away"}},
		"Slack away":    {nil, errors.New("slack is away"), http.StatusServiceUnavailable, []string{"slack is away"}},
		"both away":     {errors.New("temporal is away"), errors.New("slack is away"), http.StatusServiceUnavailable, []string{"temporal is away", "slack is away"}},
	} {
		t.Run(name, func(t *testing.T) {
			door, server, _ := open(t, &desk{ready: func() error { return test.temporal }}, nil)
			door.SlackReady = func() error { return test.slack }
			status, body := get(t, server, "/readyz")
			if status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			for _, text := range test.says {
				if !strings.Contains(body, text) {
					t.Errorf("%q does not say %q", body, text)
				}
			}
			if status, _ := get(t, server, "/healthz"); status != http.StatusOK {
				t.Errorf("healthz %d: the door itself is well", status)
			}
		})
	}
}

// TestServeFinishesWhatIsUnderWay stops a door while a delivery waits for
// Temporal: the sender still gets its answer, later ones find nobody.
func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	inside, letGo := make(chan struct{}), make(chan struct{})
	d := &desk{t: t, deliver: func(hint incident.Target, _ []incident.Alert) (string, error) {
		close(inside)
		<-letGo
		return hint.ID(), nil
	}}
	door, err := frontdoor.New(config.Default(), d, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- door.Serve(ctx, listener) }()
	url := "http://" + listener.Addr().String()
	answered := make(chan int, 1)
	go func() {
		answer, err := http.Post(url+"/alerts", "application/json", strings.NewReader(firing("job_name", "a")))
		if err != nil {
			answered <- 0
			return
		}
		answer.Body.Close()
		answered <- answer.StatusCode
	}()
	<-inside
	stop()
	close(letGo)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the delivery under way got %d", status)
	}
	if err := <-served; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	if answer, err := http.Get(url + "/healthz"); err == nil {
		answer.Body.Close()
		t.Error("the door still answers")
	}
}

func TestAddressThatIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	door, _, _ := open(t, &desk{}, func(cfg *config.Config) { cfg.FrontDoor.Listen = listener.Addr().String() })
	if err := door.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "opening the front door") {
		t.Errorf("got %v", err)
	}
}

func TestSlackInteractionsOnlyInHTTPMode(t *testing.T) {
	door, server, _ := open(t, &desk{}, nil)
	if status, _ := get(t, server, "/slack/interactions"); status != http.StatusNotFound {
		t.Errorf("without Slack: %d", status)
	}
	door.Clicks = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	if status, _ := get(t, server, "/slack/interactions"); status != http.StatusTeapot {
		t.Errorf("with Slack: %d", status)
	}
}
