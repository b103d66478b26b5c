package faults

import (
	"fmt"
	"slices"
	"strings"
)

// ncclVersion is the release whose texts are printed.
const (
	ncclVersion = "2.23.4"
	cudaVersion = "12.6"
)

// Transports as NCCL names them.
const (
	netIB     = "IB"
	netSocket = "Socket"
)

// interfaces of every pod, with the address of the first.
var interfaces = []string{"eth0", "lo"}

// quiet, warn and info are the levels of NCCL_DEBUG that matter here.
const (
	quiet = iota
	warn
	info
)

func (p *process) level() int {
	switch strings.ToUpper(p.env["NCCL_DEBUG"]) {
	case "INFO", "TRACE", "ABORT":
		return info
	case "WARN", "VERSION":
		return warn
	}
	return quiet
}

// tid is the thread that a communicator is built in.
func (p *process) tid() int { return p.pid + 340 }

func (p *process) info(format string, args ...any) {
	if p.level() == info {
		p.say("%s:%d:%d [0] NCCL INFO %s", p.host, p.pid, p.tid(), fmt.Sprintf(format, args...))
	}
}

// warn prints a warning, which an empty line precedes, and returns its text:
// it is also NCCL's last error.
func (p *process) warn(place, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if p.level() >= warn {
		line(p.out, "")
		p.say("%s:%d:%d [0] %s NCCL WARN %s", p.host, p.pid, p.tid(), place, text)
	}
	return text
}

// socketInterface is the interface that NCCL_SOCKET_IFNAME chooses: names are
// prefixes, "=" makes them exact, "^" excludes. Without it lo is the last choice.
func (p *process) socketInterface() (string, bool) {
	spec := p.env["NCCL_SOCKET_IFNAME"]
	if spec == "" {
		return interfaces[0], true
	}
	names, exclude := strings.CutPrefix(spec, "^")
	names, exact := strings.CutPrefix(names, "=")
	for _, name := range interfaces {
		hit := slices.ContainsFunc(strings.Split(names, ","), func(want string) bool {
			return name == want || !exact && want != "" && strings.HasPrefix(name, want)
		})
		if hit != exclude {
			return name, true
		}
	}
	return "", false
}

func (p *process) loopback() bool {
	name, ok := p.socketInterface()
	return ok && name == "lo"
}

// socketAddr is what the rank tells its peers to connect to.
func (p *process) socketAddr() string {
	if p.loopback() {
		return "127.0.0.1"
	}
	return p.addr
}

// network is the transport between nodes. The error is a NCCL_NET that cannot
// be had; then NCCL fails instead of falling back.
func (p *process) network() (name string, found bool) {
	name = netSocket
	if p.rdma() && p.env["NCCL_IB_DISABLE"] != "1" {
		name = netIB
	}
	switch want := p.env["NCCL_NET"]; {
	case want == "":
		return name, true
	case strings.EqualFold(want, netSocket):
		return netSocket, true
	case strings.EqualFold(want, netIB) && name == netIB:
		return netIB, true
	}
	return "", false
}

// sayBootstrap prints NCCL's first lines. A text that is returned is the
// warning with which NCCL gave up.
func (p *process) sayBootstrap() (last string, ok bool) {
	p.sayEnv("NCCL_SOCKET_IFNAME", "%s set by environment to %s")
	name, found := p.socketInterface()
	if !found {
		last = p.warn("bootstrap.cc:111", "Bootstrap : no socket interface found")
		p.trace("bootstrap.cc:375 -> 3", "init.cc:100 -> 3")
		return last, false
	}
	p.info("Bootstrap : Using %s:%s<0>", name, p.socketAddr())
	p.info("cudaDriverVersion 12060")
	if p.level() == warn {
		p.say("NCCL version %s+cuda%s", ncclVersion, cudaVersion)
	}
	p.info("NCCL version %s+cuda%s", ncclVersion, cudaVersion)
	return "", true
}

// sayNetwork prints which network is there and which one is used.
func (p *process) sayNetwork() (last string, ok bool) {
	p.info("NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.")
	p.sayEnv("NCCL_IB_DISABLE", "%s set by environment to %s.")
	p.sayEnv("NCCL_NET", "%s set by environment to %s")
	name, found := p.network()
	if !found {
		p.sayDevices(netIB, p.rdma())
		last = p.warn("net.cc:627", "Error: network %s not found.", p.env["NCCL_NET"])
		p.trace("init.cc:338 -> 5")
		return last, false
	}
	p.sayDevices(name, p.rdma())
	p.info("Using network %s", name)
	return "", true
}

func (p *process) sayDevices(name string, rdma bool) {
	ifname, _ := p.socketInterface()
	if p.env["NCCL_IB_DISABLE"] != "1" && !strings.EqualFold(p.env["NCCL_NET"], netSocket) {
		if rdma {
			p.info("NET/IB : Using%s [RO]; OOB %s:%s<0>", p.hcas(), ifname, p.socketAddr())
		} else {
			p.info("NET/IB : No device found.")
		}
	}
	if name == netSocket {
		p.info("NET/Socket : Using [0]%s:%s<0>", ifname, p.socketAddr())
	}
}

// hcas lists one RDMA port per GPU.
func (p *process) hcas() string {
	var list strings.Builder
	for i := range max(1, p.gpus()) {
		fmt.Fprintf(&list, " [%d]mlx5_%d:1/RoCE", i, i)
	}
	return list.String()
}

func (p *process) sayEnv(name, format string) {
	if value, set := p.env[name]; set && value != "" {
		p.info(format, name, value)
	}
}

// trace prints the way an error took through the library, "file:line -> code".
func (p *process) trace(places ...string) {
	for _, place := range places {
		p.info("%s", place)
	}
}

// comm is a communicator as its lines name it.
type comm struct {
	*process
	rank, ranks, nodes int
	id                 uint64
}

func (p *process) comm(rank, ranks int) comm {
	return comm{process: p, rank: rank, ranks: ranks, nodes: p.world, id: hash("comm", key(p), p.restart)}
}

func (c comm) sayStart() { c.sayInit("- Init START") }

func (c comm) sayInit(what string) {
	c.info("ncclCommInitRank comm 0x%x rank %d nranks %d cudaDev 0 nvmlDev 0 busId 1b000 commId 0x%x %s",
		0x55d000000000+hash(c.pod.UID, c.restart)%0xfffffff*16, c.rank, c.ranks, c.id, what)
}

// sayConnected prints the rings, the channels and the end of the start.
func (c comm) sayConnected(transport string, channels int) {
	c.info("Bootstrap timings total 0.0%d (create 0.000031, send 0.000206, recv 0.002114, ring 0.001893, delay 0.000001)", 10+hash(c.host)%80)
	c.info("comm 0x%x rank %d nRanks %d nNodes %d localRanks %d localRank 0 MNNVL 0", hash(c.pod.UID)%0xffffffff, c.rank, c.ranks, c.nodes, c.ranks/max(1, c.nodes))
	c.info("P2P Chunksize set to 131072")
	if c.nodes > 1 {
		c.sayChannels(transport, channels)
	} else {
		c.sayLocalChannels(channels)
	}
	c.info("Connected all rings")
	c.info("Connected all trees")
	c.info("%d coll channels, %d collnet channels, 0 nvls channels, %d p2p channels, 2 p2p channels per peer", channels, channels, channels)
	c.sayInit("- Init COMPLETE")
}

// sayChannels prints the ring's two connections of each channel: what comes
// from the node before and what goes to the node after.
func (c comm) sayChannels(transport string, channels int) {
	local := c.ranks / c.nodes
	previous, next := (c.rank-local+c.ranks)%c.ranks, (c.rank+local)%c.ranks
	for channel := range channels {
		via := fmt.Sprintf("NET/%s/%d", transport, channel%max(1, c.gpus()))
		if transport == netIB {
			via += "/GDRDMA"
		} else {
			via = "NET/Socket/0"
		}
		c.info("Channel %02d/0 : %d[0] -> %d[0] [receive] via %s", channel, previous, c.rank, via)
		c.info("Channel %02d/0 : %d[0] -> %d[0] [send] via %s", channel, c.rank, next, via)
	}
}

func (c comm) sayLocalChannels(channels int) {
	if c.ranks < 2 {
		return
	}
	for channel := range channels {
		c.info("Channel %02d/0 : %d[0] -> %d[1] via P2P/CUMEM", channel, c.rank, c.rank+1)
	}
}
