package cluster

import (
	"fmt"
	"path/filepath"
)

func etcdFlags(dir string, client, peer int) []string {
	clientURL, peerURL := fmt.Sprintf("http://127.0.0.1:%d", client), fmt.Sprintf("http://127.0.0.1:%d", peer)
	return []string{
		"--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", clientURL, "--advertise-client-urls", clientURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default=" + peerURL,
	}
}

func apiserverFlags(dir string, etcd, port int) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"--etcd-servers", fmt.Sprintf("http://127.0.0.1:%d", etcd),
		"--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", fmt.Sprint(port),
		"--tls-cert-file", in("apiserver.crt"), "--tls-private-key-file", in("apiserver.key"), "--client-ca-file", in("ca.crt"),
		"--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", in("tokens.key"),
		"--service-account-signing-key-file", in("tokens.key"),
		// The simulated kubelets are on loopback; without this, logs fail.
		"--kubelet-preferred-address-types", "InternalIP",
		// No proxy, no aggregation: nothing in the lab serves APIs beside this.
		"--endpoint-reconciler-type", "none", "--v", "1",
	}
}

// managerFlags leaves out the controllers of clouds and certificates and the one
// that attaches volumes, which have nothing to do here.
func managerFlags(dir, kubeconfig string) []string {
	return []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--leader-elect=false", "--secure-port", "0", "--use-service-account-credentials=false",
		"--service-account-private-key-file", filepath.Join(dir, "tokens.key"), "--root-ca-file", filepath.Join(dir, "ca.crt"),
		"--controllers", "job-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller,endpointslice-controller," +
			"disruption-controller,ttl-after-finished-controller,pod-garbage-collector-controller,node-lifecycle-controller," +
			"taint-eviction-controller,replicaset-controller,deployment-controller,statefulset-controller,root-ca-certificate-publisher-controller,resourcequota-controller," +
			"persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller",
		"--kube-api-qps", "300", "--kube-api-burst", "600", // the default makes 16 new nodes wait for two seconds
		"--v", "1",
	}
}

func schedulerFlags(kubeconfig string) []string {
	return []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--leader-elect=false", "--secure-port", "0", "--kube-api-qps", "300", "--kube-api-burst", "600", "--v", "1",
	}
}
