//go:build !slim

package embedded

import (
	"fmt"

	ui "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// webUI is Temporal's Web UI and the goroutine that serves it.
type webUI struct {
	server *ui.Server
	done   chan struct{}
	url    string
}

// startUI serves the UI without the button to terminate: a terminated
// incident cannot undo what it changed.
func startUI(address string, port int, namespace string) *webUI {
	web := &webUI{done: make(chan struct{}), url: fmt.Sprintf("http://127.0.0.1:%d/namespaces/%s/workflows", port, namespace)}
	web.server = ui.NewServer(server_options.WithConfigProvider(&uiconfig.Config{
		Host: "127.0.0.1", Port: port, TemporalGRPCAddress: address, EnableUI: true,
		DefaultNamespace: namespace, CORS: uiconfig.CORS{CookieInsecure: true},
		HideLogs: true, DisableNewsFetch: true, WorkflowTerminateDisabled: true,
	}))
	go func() {
		defer close(web.done)
		_ = web.server.Start() // ends with "server closed" when stopped
	}()
	return web
}

func (w *webUI) stop() {
	w.server.Stop()
	<-w.done
}
