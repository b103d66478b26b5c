package faults_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/lab/faults"
	"gpumedic/lab/kubelet"
)

// ncclLine is the prefix of NCCL's lines in releases before 2.26.
var ncclLine = regexp.MustCompile(`^(?:\[(?P<ts>[^\]]*)\]\s*)?(?P<host>[^:\s]+):(?P<pid>\d+):(?P<tid>\d+)\s+(?:\[(?P<dev>\d+)\]\s+)?(?:(?P<loc>[^\s]+:\d+)\s+(?:\((?P<fn>[^)]*)\)\s+)?)?NCCL (?P<lvl>WARN|INFO|TRACE|CALL) (?P<msg>.*)$`)

// checkNCCL: every line of NCCL has its exact form, with the host's name, and
// an empty line comes before every warning.
func checkNCCL(t *testing.T, host, text string) {
	t.Helper()
	previous := "x"
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, " NCCL INFO ") || strings.Contains(line, " NCCL WARN ") {
			m := ncclLine.FindStringSubmatch(line)
			switch {
			case m == nil:
				t.Errorf("line does not have NCCL's form: %q", line)
			case m[ncclLine.SubexpIndex("host")] != host:
				t.Errorf("line of host %q, want %q: %q", m[ncclLine.SubexpIndex("host")], host, line)
			case m[ncclLine.SubexpIndex("lvl")] == "WARN" && (previous != "" || m[ncclLine.SubexpIndex("loc")] == ""):
				t.Errorf("warning without place or without an empty line before it: %q", line)
			}
		}
		previous = line
	}
}

// want is patterns, each of which must match a line after the one before.
func want(t *testing.T, who, text string, patterns ...string) {
	t.Helper()
	rest := text
	for _, p := range patterns {
		at := regexp.MustCompile("(?m)" + p).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%s: no line matches %q after the lines before it in:\n%s", who, p, text)
		}
		rest = rest[at[1]:]
	}
}

func reject(t *testing.T, who, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if found := regexp.MustCompile("(?m)" + p).FindString(text); found != "" {
			t.Errorf("%s: there is a line %q in:\n%s", who, found, text)
		}
	}
}

const (
	step     = `^\[rank%\]: step \d+/100000 loss \d+\.\d{4} step_time \d+\.\d{3}s tokens/s \d+$`
	trouble  = `NCCL WARN|Traceback|Error`
	sysError = `^\[rank%\]: torch\.distributed\.DistBackendError: NCCL error in: \S+\.cpp:\d+, unhandled system error \(run with NCCL_DEBUG=INFO for details\), NCCL version 2\.23\.4$`
)

// of puts a rank's number into a pattern.
func of(rank int, pattern string) string {
	return strings.ReplaceAll(pattern, "%", string(rune('0'+rank)))
}

func host(rank int) string { return of(rank, "llama-70b-%") }

func TestHealthyTrainingUsesRDMA(t *testing.T) {
	st := set(t, "false-alarm")
	st.open()
	for rank, e := range st.run(st.trained(3)) {
		checkNCCL(t, host(rank), e.text)
		want(t, host(rank), e.text,
			`NCCL INFO Bootstrap : Using eth0:10\.244\.\d+\.\d+<0>$`,
			`NCCL INFO NCCL version 2\.23\.4\+cuda12\.6$`,
			`NCCL INFO NET/IB : Using \[0\]mlx5_0:1/RoCE \[1\]mlx5_1:1/RoCE \[2\]mlx5_2:1/RoCE \[3\]mlx5_3:1/RoCE \[RO\]; OOB eth0:10\.244\.\d+\.\d+<0>$`,
			`NCCL INFO Using network IB$`,
			of(rank, `ncclCommInitRank comm 0x[0-9a-f]+ rank % nranks 8 cudaDev 0 nvmlDev 0 busId 1b000 commId 0x[0-9a-f]+ - Init START$`),
			of(rank, `NCCL INFO Channel 00/0 : \d\[0\] -> %\[0\] \[receive\] via NET/IB/0/GDRDMA$`),
			of(rank, `NCCL INFO Channel 00/0 : %\[0\] -> \d\[0\] \[send\] via NET/IB/0/GDRDMA$`),
			of(rank, `ncclCommInitRank comm 0x[0-9a-f]+ rank % nranks 8 .* - Init COMPLETE$`),
			of(rank, step), of(rank, step), of(rank, step))
		reject(t, host(rank), e.text, trouble, `Socket`)
		if e.exit != (kubelet.Exit{Code: 143}) {
			t.Errorf("rank %d was stopped and ended with %+v, want code 143", rank, e.exit)
		}
	}
}

func TestWithoutRDMATrainingCrawls(t *testing.T) {
	device := func(_ int, c *corev1.Container) { delete(c.Resources.Limits, "rdma/hca_shared_devices_a") }
	for name, c := range map[string]struct {
		change func(int, *corev1.Container)
		lines  []string
		not    string
	}{
		"no device":       {device, []string{`NCCL INFO NET/IB : No device found\.$`}, `mlx5`},
		"NCCL_IB_DISABLE": {setenv("NCCL_IB_DISABLE", "1"), []string{`NCCL INFO NCCL_IB_DISABLE set by environment to 1\.$`}, `NET/IB`},
		"NCCL_NET":        {setenv("NCCL_NET", "Socket"), []string{`NCCL INFO NCCL_NET set by environment to Socket$`}, `NET/IB`},
	} {
		t.Run(name, func(t *testing.T) {
			st := set(t, "false-alarm")
			st.edit(c.change)
			st.open()
			for rank, e := range st.run(st.trained(2)) {
				checkNCCL(t, host(rank), e.text)
				want(t, host(rank), e.text, append(c.lines,
					`NCCL INFO NET/Socket : Using \[0\]eth0:10\.244\.\d+\.\d+<0>$`, `NCCL INFO Using network Socket$`,
					`via NET/Socket/0$`, of(rank, `^\[rank%\]: step 2/100000 .* step_time 4\.\d{3}s tokens/s \d{4,5}$`))...)
				reject(t, host(rank), e.text, trouble, c.not, `GDRDMA`, `Using network IB`)
			}
		})
	}
}

func TestStepsOverTCPTakeTenTimesAsLong(t *testing.T) {
	took := func(scenario string) time.Duration {
		st := set(t, scenario)
		st.open()
		started := time.Now()
		st.run(st.trained(3))
		return time.Since(started)
	}
	// The first step comes early in both; two full steps of 50 and of 500 ms follow.
	if fast, slow := took("false-alarm"), took("nccl-rdma-fallback"); slow < fast+700*time.Millisecond || slow < time.Second {
		t.Errorf("three steps over RDMA in %v, over TCP in %v", fast, slow)
	}
}

func TestPolicyKeepsRanksApart(t *testing.T) {
	endings := set(t, "nccl-policy").run(nil)
	for rank, e := range endings {
		checkNCCL(t, host(rank), e.text)
		want(t, host(rank), e.text, `Using network IB$`, `Init START$`)
		reject(t, host(rank), e.text, `Init COMPLETE`, `step \d`)
		if e.exit != (kubelet.Exit{Code: 1}) {
			t.Errorf("rank %d ended with %+v, want code 1", rank, e.exit)
		}
		if e.took > 1500*time.Millisecond {
			t.Errorf("rank %d took %v to fail", rank, e.took)
		}
	}
	for rank, e := range endings[1:] {
		want(t, host(rank+1), e.text,
			`NCCL WARN socketPollConnect: Connect to 10\.244\.0\.7<\d{5}> returned 113\(No route to host\) errno 115\(Operation now in progress\)$`,
			of(rank+1, sysError),
			of(rank+1, `^\[rank%\]: ncclSystemError: System call`),
			of(rank+1, `^\[rank%\]: Last error:$`),
			of(rank+1, `^\[rank%\]: socketPollConnect: Connect to 10\.244\.0\.7<`))
	}
	want(t, host(0), endings[0].text, `^\[rank0\]: torch\.distributed\.DistBackendError: NCCL error in: .*, remote process exited or there was a network error`, `^\[rank0\]: ncclRemoteError: `)
	reject(t, host(0), endings[0].text, `ncclSystemError`, `No route to host`)
}

func TestAllowedTrafficHealsAndFabricDoesNot(t *testing.T) {
	open := func(st *stage) {
		st.objects = append(st.objects, &netv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "allow"},
			Spec: netv1.NetworkPolicySpec{
				Ingress: []netv1.NetworkPolicyIngressRule{{}}, Egress: []netv1.NetworkPolicyEgressRule{{}},
				PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress, netv1.PolicyTypeEgress},
			},
		})
		st.open()
	}
	healed := set(t, "nccl-policy")
	open(healed)
	for rank, e := range healed.run(healed.trained(1)) {
		want(t, host(rank), e.text, of(rank, step))
	}

	useless := set(t, "nccl-policy-useless")
	open(useless)
	endings := useless.run(nil)
	for rank, e := range endings[1:] {
		want(t, host(rank+1), e.text, `NCCL WARN socketPollConnect: exceeded timeouts \(3\)$`, `ncclRemoteError`, of(rank+1, `^\[rank%\]: socketPollConnect: exceeded timeouts`))
		reject(t, host(rank+1), e.text, `No route to host`, `Init COMPLETE`)
	}
}

func TestPolicyThatCutsOffOneRank(t *testing.T) {
	st := set(t, "false-alarm")
	st.pods[5].Labels["quarantine"] = "yes"
	st.objects = append(st.objects, &netv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "quarantine"},
		Spec: netv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"quarantine": "yes"}},
			PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress},
		},
	})
	// Rank 5 reaches everybody and nobody reaches it: rank 0 cannot answer it.
	for rank, e := range st.run(nil) {
		if rank == 0 {
			want(t, host(0), e.text, `NCCL WARN socketPollConnect: Connect to 10\.244\.5\.12<\d+> returned 113`, `ncclSystemError`)
			continue
		}
		want(t, host(rank), e.text, `NCCL WARN socketProgress: Connection closed by remote peer llama-70b-0\.llama-70b\.training\.svc\.cluster\.local<\d+>$`, `ncclRemoteError`)
		reject(t, host(rank), e.text, `ncclSystemError`)
	}
}

func TestNoRendezvous(t *testing.T) {
	isolate := func(egress ...netv1.NetworkPolicyEgressRule) func(*stage) {
		return func(st *stage) {
			st.objects = append(st.objects, &netv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "training", Name: "deny"},
				Spec:       netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress}, Egress: egress},
			})
		}
	}
	dns := netv1.NetworkPolicyEgressRule{To: []netv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
	}}}
	withoutService := func(st *stage) { st.objects = st.objects[:1] }
	const timedOut = `The client socket has timed out after 60000ms while trying to connect to \(llama-70b-0\.llama-70b, 29500\)\.$`
	for name, c := range map[string]struct {
		change      func(*stage)
		first, root string
	}{
		"port blocked": {isolate(dns),
			`^\[W\d{4} [\d:.]+ socket\.cpp:\d+\] \[c10d\] The client socket has failed to connect to \[llama-70b-0\.llama-70b\]:29500 \(errno: 113 - No route to host\)\.$`,
			`^\[rank0\]: torch\.distributed\.DistStoreError: Timed out after 1801 seconds waiting for clients\. 1/8 clients joined\.$`},
		"names blocked": {isolate(),
			`\[c10d\] The IPv6 network addresses of \(llama-70b-0\.llama-70b, 29500\) cannot be retrieved \(gai error: -3 - Temporary failure in name resolution\)\.$`, timedOut},
		"no service": {withoutService,
			`\[c10d\] The IPv6 network addresses of \(llama-70b-0\.llama-70b, 29500\) cannot be retrieved \(gai error: -2 - Name or service not known\)\.$`, timedOut},
	} {
		t.Run(name, func(t *testing.T) {
			st := set(t, "false-alarm")
			c.change(st)
			for rank, e := range st.run(nil) {
				if rank > 0 {
					want(t, host(rank), e.text, c.first, of(rank, `^\[rank%\]: torch\.distributed\.DistNetworkError: `)+timedOut)
				} else {
					want(t, host(0), e.text, c.root)
				}
				reject(t, host(rank), e.text, `NCCL (INFO|WARN)`)
				if e.exit.Code != 1 {
					t.Errorf("rank %d ended with %+v", rank, e.exit)
				}
			}
		})
	}
}

func TestWrongInterface(t *testing.T) {
	for rank, e := range set(t, "nccl-wrong-interface").run(nil) {
		checkNCCL(t, host(rank), e.text)
		want(t, host(rank), e.text,
			`NCCL INFO NCCL_SOCKET_IFNAME set by environment to ens1f0$`,
			`bootstrap\.cc:\d+ NCCL WARN Bootstrap : no socket interface found$`,
			of(rank, `^\[rank%\]: torch\.distributed\.DistBackendError: .*internal error`),
			of(rank, `^\[rank%\]: ncclInternalError: Internal check failed\.`),
			of(rank, `^\[rank%\]: Bootstrap : no socket interface found$`))
		if e.exit.Code != 1 {
			t.Errorf("rank %d ended with %+v", rank, e.exit)
		}
	}
}

func TestInterfaceNames(t *testing.T) {
	for value, line := range map[string]string{
		"eth":    `Bootstrap : Using eth0:`,
		"=eth0":  `Bootstrap : Using eth0:`,
		"=eth":   `no socket interface found`,
		"^lo":    `Bootstrap : Using eth0:`,
		"ib,eth": `Bootstrap : Using eth0:`,
		"^eth":   `Bootstrap : Using lo:127\.0\.0\.1<0>`,
		"lo":     `Connection refused, retrying$`,
	} {
		t.Run(value, func(t *testing.T) {
			st := set(t, "false-alarm")
			st.pods = st.pods[:2]
			st.edit(setenv("NNODES", "2"))
			st.edit(setenv("NCCL_SOCKET_IFNAME", value))
			st.open()
			want(t, value, st.run(func() bool { return len(st.model.Steps("training", "llama-70b")) == 2 })[1].text, line)
		})
	}
}

func TestOneRankDiesAndItsPeersEcho(t *testing.T) {
	for rank, e := range set(t, "nccl-peer-died").run(nil) {
		if rank == 2 {
			want(t, host(2), e.text, `^\[rank2\]: host memory 1\d\d\.\d GiB of 192\.0 GiB`, `^\[rank2\]: step 8/`, `^\[rank2\]: host memory 191\.7 GiB of 192\.0 GiB`)
			reject(t, host(2), e.text, trouble)
			if e.exit != (kubelet.Exit{Code: 137, Reason: "OOMKilled"}) {
				t.Errorf("rank 2 ended with %+v", e.exit)
			}
			continue
		}
		want(t, host(rank), e.text,
			`NCCL WARN socketProgress: Connection closed by remote peer llama-70b-2\.llama-70b\.training\.svc\.cluster\.local<\d+>$`,
			of(rank, `^\[rank%\]:\[E\d{4} [\d:.]+ ProcessGroupNCCL\.cpp:\d+\] \[PG ID 0 PG GUID 0\(default_pg\) Rank %\] Process group watchdog thread terminated with exception: NCCL error: remote process exited`),
			of(rank, `^\[rank%\]: ncclRemoteError: `))
		reject(t, host(rank), e.text, `host memory`, `ncclSystemError`)
		if e.exit != (kubelet.Exit{Code: 1}) {
			t.Errorf("rank %d ended with %+v", rank, e.exit)
		}
	}
}

func TestRanksRestartTogether(t *testing.T) {
	st := set(t, "nccl-peer-died")
	st.run(nil)
	if err := st.model.SetScript(faults.Script{}); err != nil {
		t.Fatal(err)
	}
	st.restart = 1
	for rank, e := range st.run(st.trained(1)) {
		want(t, host(rank), e.text, of(rank, step))
	}
}

func TestLevelsOfNCCLDebug(t *testing.T) {
	for level, c := range map[string]struct{ has, not string }{
		"":     {`^\[rank1\]: socketPollConnect: Connect to`, `NCCL (INFO|WARN)`},
		"WARN": {`NCCL WARN socketPollConnect`, `NCCL INFO`},
		"info": {`NCCL INFO Using network IB`, `^NCCL version`},
	} {
		st := set(t, "nccl-policy")
		st.edit(setenv("NCCL_DEBUG", level))
		text := st.run(nil)[1].text
		want(t, level, text, c.has)
		reject(t, level, text, c.not)
	}
}

func TestRanksThatDisagree(t *testing.T) {
	t.Run("network that cannot be had", func(t *testing.T) {
		st := set(t, "nccl-rdma-fallback")
		st.edit(setenv("NCCL_NET", "IB"))
		want(t, "rank 3", st.run(nil)[3].text, `NET/IB : No device found`, `NCCL WARN Error: network IB not found\.$`, `ncclInvalidUsage`)
	})
	t.Run("mixed transports hang", func(t *testing.T) {
		st := set(t, "false-alarm")
		delete(st.pods[4].Spec.Containers[0].Resources.Limits, "rdma/hca_shared_devices_a")
		st.open()
		deadline := time.Now().Add(500 * time.Millisecond)
		for rank, e := range st.run(func() bool { return time.Now().After(deadline) }) {
			want(t, host(rank), e.text, `Using network`)
			reject(t, host(rank), e.text, `Init COMPLETE`, `step \d`, trouble)
		}
	})
	t.Run("no rank", func(t *testing.T) {
		st := set(t, "false-alarm")
		st.pods = st.pods[:1]
		st.pods[0].Annotations = nil
		e := st.run(nil)[0]
		want(t, "pod", e.text, `^ValueError: Error initializing torch\.distributed using env:// rendezvous: environment variable RANK expected, but not set$`)
		if e.exit.Code != 1 {
			t.Errorf("ended with %+v", e.exit)
		}
	})
}

func TestOtherContainersSleep(t *testing.T) {
	st := set(t, "false-alarm")
	st.open()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	out := &log{}
	spec := corev1.Container{Image: "registry:5000/lab.gpumedic.io/train-not:1"}
	exit := st.model.Run(ctx, kubelet.Container{Pod: st.pods[0], Spec: spec, Out: out})
	if exit.Code != 143 || out.String() != "" {
		t.Errorf("ended with %+v after %q", exit, out)
	}
}

func TestScriptsAreChecked(t *testing.T) {
	for name, s := range map[string]faults.Script{
		"death without job":    {Deaths: []faults.Death{{Namespace: "n", Step: 1}}},
		"death before step 1":  {Deaths: []faults.Death{{Namespace: "n", Job: "j"}}},
		"ports in wrong order": {FabricBlocks: []faults.FabricBlock{{FirstPort: 2, LastPort: 1}}},
	} {
		if s.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
