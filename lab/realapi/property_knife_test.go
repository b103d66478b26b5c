package realapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"gpumedic/activities/cluster"
)

// knife kills a hand at its n-th write: nothing is sent any more, and the
// context ends. Lost means that the write itself still reached the API server and
// only its answer did not come back.
type knife struct {
	next  http.RoundTripper
	lost  bool
	death func()

	mu   sync.Mutex
	left int
}

// errKilled is what a dead hand hears.
var errKilled = errors.New("killed by the test")

func (k *knife) RoundTrip(request *http.Request) (*http.Response, error) {
	if k.dead() {
		return nil, errKilled
	}
	if request.Method == http.MethodGet || isDryRun(request) || !k.cut() {
		return k.next.RoundTrip(request)
	}
	if k.lost {
		response, err := k.next.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
	}
	k.death()
	return nil, errKilled
}

// isDryRun: evictions say it in their body, all others in the query.
func isDryRun(request *http.Request) bool {
	if !strings.HasSuffix(request.URL.Path, "/eviction") {
		return strings.Contains(request.URL.RawQuery, "dryRun=All")
	}
	body, err := io.ReadAll(request.Body)
	request.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte("All"))
}

// cut counts a write and says whether it is the last.
func (k *knife) cut() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left--
	return k.left == 0
}

func (k *knife) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.left <= 0
}

// handsWithKnife are the worker's hands, with its rights, under a knife.
func (w *world) handsWithKnife(_ context.Context, n int, lost bool, death func()) (*cluster.Hands, *knife) {
	w.Helper()
	knife := &knife{lost: lost, death: death, left: n}
	config := rest.AnonymousClientConfig(adminConfig(w.T))
	config.BearerToken = w.workerToken()
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		knife.next = next
		return knife
	}
	kube, err := kubernetes.NewForConfig(config)
	w.must(err)
	objects, err := dynamic.NewForConfigAndClient(config, clientOf(w, kube))
	w.must(err)
	hands := cluster.New(kube, objects, w.hands.Mapper, w.store, w.hands.Signatures, nil)
	hands.Cluster = "lab"
	return hands, knife
}

// clientOf is the HTTP client of a clientset, so that both count as one.
func clientOf(w *world, kube kubernetes.Interface) *http.Client {
	w.Helper()
	client, ok := kube.CoreV1().RESTClient().(*rest.RESTClient)
	if !ok {
		w.Fatal("the clientset is no real one")
	}
	return client.Client
}
