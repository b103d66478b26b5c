//go:build !slim

package embedded

import (
	"fmt"
	"math/rand/v2"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
)

const clusterName = "active"

// serviceNames are the four services in the order of their ports.
var serviceNames = []primitives.ServiceName{
	primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService,
}

func serverConfig(opts Options, ports []int) *config.Config {
	cfg := &config.Config{}
	cfg.Global.Membership = config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: "127.0.0.1"}
	cfg.Persistence = config.Persistence{
		DefaultStore: sqliteplugin.PluginName, VisibilityStore: sqliteplugin.PluginName, NumHistoryShards: 1,
		DataStores: map[string]config.DataStore{sqliteplugin.PluginName: {SQL: sqlConfig(opts.File)}},
	}
	cfg.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10, MasterClusterName: clusterName, CurrentClusterName: clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{
			clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: loopback(ports[0])},
		},
	}
	cfg.DCRedirectionPolicy = config.DCRedirectionPolicy{Policy: "noop"}
	cfg.Services = map[string]config.Service{}
	for i, name := range serviceNames {
		cfg.Services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: ports[i], BindOnLocalHost: true}}
	}
	off := "disabled"
	cfg.Archival = config.Archival{History: config.HistoryArchival{State: off}, Visibility: config.VisibilityArchival{State: off}}
	cfg.NamespaceDefaults = config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
		History:    config.HistoryArchivalNamespaceDefaults{State: off},
		Visibility: config.VisibilityArchivalNamespaceDefaults{State: off},
	}}
	cfg.PublicClient = config.PublicClient{HostPort: loopback(ports[0])}
	return cfg
}

// sqlConfig uses write-ahead logging over one connection: measured to give
// 2.3 times the throughput of the default at full durability, while more
// connections only add SQLITE_BUSY.
func sqlConfig(file string) *config.SQL {
	cfg := &config.SQL{PluginName: sqliteplugin.PluginName, DatabaseName: file, MaxConns: 1, ConnectAttributes: map[string]string{}}
	if file == "" {
		cfg.DatabaseName = fmt.Sprintf("gpumedic-%d", rand.Int64())
		cfg.ConnectAttributes["mode"] = "memory"
		cfg.ConnectAttributes["cache"] = "shared"
		return cfg
	}
	cfg.ConnectAttributes["mode"] = "rwc"
	cfg.ConnectAttributes["journal_mode"] = "wal"
	cfg.ConnectAttributes["busy_timeout"] = "10000"
	return cfg
}

// dynamicSettings changes the defaults that make an embedded server slow. Each
// was measured: with the defaults every dispatch waits up to 50 ms (poll
// rates), tasks are forwarded between partitions, and short timers round up
// to a second.
func dynamicSettings() dynamicconfig.StaticClient {
	return dynamicconfig.StaticClient{
		dynamicconfig.MakeKey("history.transferProcessorMaxPollRPS"):            1000,
		dynamicconfig.MakeKey("history.timerProcessorMaxPollRPS"):               1000,
		dynamicconfig.MakeKey("history.visibilityProcessorMaxPollRPS"):          1000,
		dynamicconfig.MakeKey("history.outboundProcessorMaxPollRPS"):            1000,
		dynamicconfig.MakeKey("history.timerProcessorMaxTimeShift"):             5 * time.Millisecond,
		dynamicconfig.MakeKey("history.maxInFlightUpdates"):                     1000,
		dynamicconfig.MakeKey("history.hostLevelCacheMaxSize"):                  8096,
		dynamicconfig.MakeKey("matching.numTaskqueueReadPartitions"):            1,
		dynamicconfig.MakeKey("matching.numTaskqueueWritePartitions"):           1,
		dynamicconfig.MakeKey("frontend.namespaceRPS.visibility"):               100,
		dynamicconfig.MakeKey("system.forceSearchAttributesCacheRefreshOnRead"): true,
	}
}
