package cluster_test

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func readLog(t *testing.T, pod string, options corev1.PodLogOptions) (string, error) {
	t.Helper()
	stream, err := admin.CoreV1().Pods("default").GetLogs(pod, &options).Stream(t.Context())
	if err != nil {
		return "", err
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	return string(data), err
}

func TestLogsThroughTheRealAPI(t *testing.T) {
	create(t, job("flaky", "flaky", 1, corev1.RestartPolicyOnFailure))
	eventually(t, "the pod succeeds the second time", func() bool {
		pods := podsOf(t, "flaky")
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodSucceeded
	})
	pod := podsOf(t, "flaky")[0]
	if pod.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("restarts %d", pod.Status.ContainerStatuses[0].RestartCount)
	}
	hello := "hello from " + pod.Spec.NodeName + "\n"
	one, few := int64(1), int64(5)
	future := metav1.NewTime(time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		options corev1.PodLogOptions
		want    string
	}{
		"current":  {corev1.PodLogOptions{}, hello},
		"previous": {corev1.PodLogOptions{Previous: true}, hello + "no\n"},
		"tail":     {corev1.PodLogOptions{Previous: true, TailLines: &one}, "no\n"},
		"limit":    {corev1.PodLogOptions{LimitBytes: &few}, "hello"},
		"since":    {corev1.PodLogOptions{SinceTime: &future}, ""},
		"followed": {corev1.PodLogOptions{Follow: true}, hello},
	} {
		if got, err := readLog(t, pod.Name, c.options); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	stamped, err := readLog(t, pod.Name, corev1.PodLogOptions{Timestamps: true})
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z hello from gpu-\d\d\n$`).MatchString(stamped) {
		t.Errorf("with timestamps: %q, %v", stamped, err)
	}
	if _, err := readLog(t, pod.Name, corev1.PodLogOptions{Container: "nobody"}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a container that is not there: %v", err)
	}
}

func TestThereIsNoPreviousLogBeforeARestart(t *testing.T) {
	create(t, job("fresh", "plain", 1, corev1.RestartPolicyNever))
	eventually(t, "it ended", func() bool {
		pods := podsOf(t, "fresh")
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodSucceeded
	})
	_, err := readLog(t, podsOf(t, "fresh")[0].Name, corev1.PodLogOptions{Previous: true})
	if err == nil || !strings.Contains(err.Error(), `previous terminated container "main" in pod`) {
		t.Errorf("got %v", err)
	}
}

// A follower sees each line soon after it was written, and the end of the log
// when the container is stopped.
func TestLogsAreFollowed(t *testing.T) {
	create(t, job("talker", "talker", 1, corev1.RestartPolicyNever))
	eventually(t, "it runs", func() bool { return running(t, "talker") == 1 })
	pod := podsOf(t, "talker")[0]
	none := int64(0)
	stream, err := admin.CoreV1().Pods("default").GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true, Timestamps: true, TailLines: &none}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	lines, first := bufio.NewScanner(stream), -1
	for n := 0; lines.Scan(); n++ {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			t.Fatal(err)
		}
		if late := time.Since(at); late > time.Second {
			t.Errorf("%q came after %v", text, late)
		}
		if first < 0 {
			fmt.Sscanf(text, "line %d", &first)
		}
		if want := fmt.Sprintf("line %d", first+n); text != want {
			t.Fatalf("got %q, want %q", text, want)
		}
		if n == 20 {
			if err := admin.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream broke: %v", err)
	}
}
