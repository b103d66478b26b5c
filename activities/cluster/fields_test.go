package cluster

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const rdmaLimit = `spec.template.spec.containers[name=trainer].resources.limits["rdma/hca_shared_devices_a"]`

func objectFrom(t *testing.T, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestFieldPathRoundTrip(t *testing.T) {
	for _, text := range []string{"spec", "spec.suspend", rdmaLimit, `metadata.annotations["gpumedic.io/operation"]`} {
		path, err := parseFieldPath(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := path.String(); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
}

func TestFieldPathFaults(t *testing.T) {
	for text, want := range map[string]string{
		"": "field path is empty", "a..b": "a key is missing", `a["b`: "no end of", "a[b=c": "no end of", "a[b]": "selects no element",
	} {
		if _, err := parseFieldPath(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want it to contain %q", text, err, want)
		}
	}
}

func TestFieldPathSetGetRemove(t *testing.T) {
	before := `{"spec":{"template":{"spec":{"containers":[{"name":"side"},{"name":"trainer","resources":{"limits":{"nvidia.com/gpu":"4"}}}]}}}}`
	object := objectFrom(t, before)
	path, err := parseFieldPath(rdmaLimit)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := path.get(object); ok {
		t.Error("got a value before any was set")
	}
	if err := path.set(object, "1"); err != nil {
		t.Fatal(err)
	}
	if value, ok := path.get(object); !ok || value != "1" {
		t.Errorf("got %v, %t after set", value, ok)
	}
	path.remove(object)
	path.remove(object)
	if diff := cmp.Diff(objectFrom(t, before), object); diff != "" {
		t.Errorf("after remove (-want +got):\n%s", diff)
	}
}

func TestFieldPathSetNeedsTheContainer(t *testing.T) {
	path, _ := parseFieldPath(rdmaLimit)
	object := objectFrom(t, `{"spec":{"template":{"spec":{"containers":[{"name":"side"}]}}}}`)
	err := path.set(object, "1")
	if err == nil || err.Error() != "spec.template.spec.containers[name=trainer] is not there" {
		t.Errorf("got %v", err)
	}
}

func TestFieldDifferences(t *testing.T) {
	paths := []string{"a", "b", "c"}
	was := fieldValues{"a": int64(1), "b": "x"}
	for name, test := range map[string]struct {
		now  fieldValues
		want []string
	}{
		"numbers compare as JSON does": {fieldValues{"a": float64(1), "b": "x"}, nil},
		"set since":                    {fieldValues{"a": 1, "b": "x", "c": nil}, []string{"c"}},
		"gone and changed":             {fieldValues{"b": "y"}, []string{"a", "b"}},
	} {
		if diff := cmp.Diff(test.want, was.differences(test.now, paths)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
