package cluster

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
)

func envFromMap(name, prefix string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		trainerOf(pod).EnvFrom = append(trainerOf(pod).EnvFrom, corev1.EnvFromSource{Prefix: prefix,
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}})
	}
}

func envFromSecret(pod *corev1.Pod) {
	trainerOf(pod).EnvFrom = append(trainerOf(pod).EnvFrom, corev1.EnvFromSource{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}})
}

func envValueFrom(name string, source corev1.EnvVarSource) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		trainerOf(pod).Env = append(trainerOf(pod).Env, corev1.EnvVar{Name: name, ValueFrom: &source})
	}
}

func settings(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "training"}, Data: data}
}

func keyOf(name, key string) corev1.EnvVarSource {
	return corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
}

func TestNCCLEnv(t *testing.T) {
	every := func(option func(*corev1.Pod)) []func(*corev1.Pod) {
		return []func(*corev1.Pod){option, option, option, option}
	}
	but := func(rank int, with func(*corev1.Pod), others func(*corev1.Pod)) []func(*corev1.Pod) {
		options := every(others)
		options[rank] = with
		return options
	}
	for name, test := range map[string]struct {
		ranks  []func(*corev1.Pod)
		more   []runtime.Object
		change func(*world)
		// want are the answers that are not "no", as "question state subject value".
		want []string
	}{
		"nothing set":                         {ranks: every(nil)},
		"harmless":                            {ranks: every(withEnv("NCCL_DEBUG", "INFO", "NCCL_IB_DISABLE", "0", "NCCL_NET", "IB", "NCCL_SOCKET_IFNAME", ""))},
		"RDMA turned off":                     {ranks: every(withEnv("NCCL_IB_DISABLE", "1")), want: []string{"nccl-rdma-disabled yes env/NCCL_IB_DISABLE NCCL_IB_DISABLE=1"}},
		"sockets asked for":                   {ranks: every(withEnv("NCCL_NET", "socket")), want: []string{"nccl-rdma-disabled yes env/NCCL_NET NCCL_NET=socket"}},
		"another interface":                   {ranks: every(withEnv("NCCL_SOCKET_IFNAME", "ib0")), want: []string{"nccl-socket-ifname yes env/NCCL_SOCKET_IFNAME ib0"}},
		"a dead variable":                     {ranks: every(withEnv("NCCL_IB_CUDA_SUPPORT", "1")), want: []string{"nccl-env-dead yes env/NCCL_IB_CUDA_SUPPORT 1"}},
		"one rank differs":                    {ranks: but(2, withEnv("NCCL_BUFFSIZE", "8388608"), withEnv("NCCL_BUFFSIZE", "4194304")), want: []string{`nccl-env-differs yes env/NCCL_BUFFSIZE "4194304" on ranks 0, 1, 3, "8388608" on rank 2`}},
		"one rank has it not":                 {ranks: but(0, nil, withEnv("NCCL_ALGO", "Ring")), want: []string{`nccl-env-differs yes env/NCCL_ALGO not set on rank 0, "Ring" on ranks 1, 2, 3`}},
		"other variables may differ":          {ranks: but(1, withEnv("DATA_SHARD", "1"), withEnv("DATA_SHARD", "2"))},
		"names of hosts and files may differ": {ranks: but(1, withEnv("NCCL_HOSTID", "a", "NCCL_DEBUG_FILE", "/a"), withEnv("NCCL_HOSTID", "b", "NCCL_DEBUG_FILE", "/b"))},
		"taken from the pod":                  {ranks: but(1, envValueFrom("NCCL_COMM_ID", corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}), nil)},
		"in a configmap": {ranks: every(envFromMap("nccl", "")), more: []runtime.Object{settings("nccl", map[string]string{"NCCL_IB_DISABLE": "1"})},
			want: []string{"nccl-rdma-disabled yes env/NCCL_IB_DISABLE NCCL_IB_DISABLE=1"}},
		"in a configmap under a prefix": {ranks: every(envFromMap("nccl", "NCCL_")), more: []runtime.Object{settings("nccl", map[string]string{"NET": "Socket"})},
			want: []string{"nccl-rdma-disabled yes env/NCCL_NET NCCL_NET=Socket"}},
		"over a configmap": {ranks: every(both(envFromMap("nccl", ""), withEnv("NCCL_IB_DISABLE", "0"))), more: []runtime.Object{settings("nccl", map[string]string{"NCCL_IB_DISABLE": "1"})}},
		"a key of a configmap": {ranks: every(envValueFrom("NCCL_SOCKET_IFNAME", keyOf("nccl", "interface"))), more: []runtime.Object{settings("nccl", map[string]string{"interface": "eth9"})},
			want: []string{"nccl-socket-ifname yes env/NCCL_SOCKET_IFNAME eth9"}},
		"composed": {ranks: every(withEnv("FABRIC", "ib", "NCCL_SOCKET_IFNAME", "$(FABRIC)0$$$(NONE)")), want: []string{"nccl-socket-ifname yes env/NCCL_SOCKET_IFNAME ib0$$(NONE)"}},
		"an optional configmap that is not there": {ranks: every(envFromMap("nccl", ""))},
		"a configmap that may not be read": {ranks: every(envFromMap("nccl", "")), change: func(w *world) { w.refuse("get", "configmaps", "") },
			want: []string{"nccl-rdma-disabled unknown job/llama-70b ", "nccl-socket-ifname unknown env/NCCL_SOCKET_IFNAME "}},
		"a secret is never read": {ranks: every(envFromSecret), want: []string{"nccl-rdma-disabled unknown job/llama-70b ", "nccl-socket-ifname unknown env/NCCL_SOCKET_IFNAME "}},
		"a secret does not hide what is plain": {ranks: every(both(envFromSecret, withEnv("NCCL_IB_DISABLE", "1", "NCCL_SOCKET_IFNAME", "eth0"))),
			want: []string{"nccl-rdma-disabled yes env/NCCL_IB_DISABLE NCCL_IB_DISABLE=1", "nccl-socket-ifname yes env/NCCL_SOCKET_IFNAME eth0"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(ranksThat(test.ranks...), test.more...)...)
			if test.change != nil {
				test.change(w)
			}
			result := w.checked(t, w.CheckNCCLEnv)
			var got []string
			answered := map[string]bool{}
			for _, finding := range result.Findings {
				answered[finding.ID] = true
				if finding.State != incident.No {
					got = append(got, fmt.Sprintf("%s %s %s %s", finding.ID, finding.State, finding.Subject, finding.Value))
				}
				if finding.Why == "" {
					t.Errorf("%s does not say why", finding.ID)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(answered) != 4 {
				t.Errorf("answered were %v", answered)
			}
			for _, action := range w.kube.Actions() {
				if action.GetResource().Resource == "secrets" {
					t.Errorf("a secret was asked for: %v", action)
				}
			}
		})
	}
}

func TestNCCLEnvOutdatedNamesAreTold(t *testing.T) {
	w := newWorld(t, gang(2, withEnv("NCCL_MIN_NCHANNELS", "4"))...)
	dead := only(t, w.checked(t, w.CheckNCCLEnv), incident.EnvDead)
	if dead.State != incident.No {
		t.Errorf("%+v", dead)
	}
	contains(t, dead.Why, "NCCL_MIN_NCHANNELS", "NCCL_MIN_CTAS")
}

func TestNCCLEnvValuesAreRedacted(t *testing.T) {
	w := newWorld(t, ranksThat(withEnv("NCCL_SECRET_TOKEN", "xoxb-123456789012-abcdefghijkl"), nil)...)
	for _, finding := range w.checked(t, w.CheckNCCLEnv).Findings {
		if got := finding.Value + finding.Why; len(got) > 0 && containsSecret(got) {
			t.Errorf("%+v", finding)
		}
	}
}
