package faults

import (
	"fmt"
	"strings"
)

const torchVersion = "2.6.0a0+df5bbc09d1.nv24.12"

// ncclResult is a result code with the texts that PyTorch prints for it.
type ncclResult struct {
	code             int
	name, text, more string
}

var (
	systemError = ncclResult{2, "ncclSystemError", "unhandled system error (run with NCCL_DEBUG=INFO for details)",
		"System call (e.g. socket, malloc) or external library call failed or device error."}
	internalError = ncclResult{3, "ncclInternalError", "internal error - please report this issue to the NCCL developers",
		"Internal check failed."}
	invalidUsage = ncclResult{5, "ncclInvalidUsage", "invalid usage (run with NCCL_DEBUG=WARN for details)",
		"This usually reflects invalid usage of NCCL library."}
	remoteError = ncclResult{6, "ncclRemoteError", "remote process exited or there was a network error",
		"A call failed possibly due to a network error or a remote process exiting prematurely."}
)

// backendError is the text of PyTorch's exception.
func backendError(r ncclResult, last string) []string {
	return []string{
		fmt.Sprintf("torch.distributed.DistBackendError: NCCL error in: /opt/pytorch/pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:77, %s, NCCL version %s", r.text, ncclVersion),
		fmt.Sprintf("%s: %s ", r.name, r.more),
		"Last error:",
		last,
	}
}

// raise prints an exception as a rank's process does when it ends by it.
func (p *process) raise(where string, exception ...string) {
	trace := []string{
		"Traceback (most recent call last):",
		`  File "/workspace/train.py", line 268, in <module>`,
		"    main()",
		`  File "/workspace/train.py", line 197, in main`,
		"    " + where,
	}
	for _, text := range append(trace, exception...) {
		p.say("[rank%d]: %s", p.rank, text)
	}
}

// raiseNCCL prints an exception out of NCCL.
func (p *process) raiseNCCL(where string, r ncclResult, last string) {
	p.raise(where, backendError(r, last)...)
}

// c10d prints a line of PyTorch's C++ part: a letter for the level, the day,
// the time, then the place.
func (m *Model) c10d(p *process, letter, place, format string, args ...any) {
	now := m.now().UTC()
	p.say("[%s%s %s] [c10d] %s", letter, now.Format("0102 15:04:05.000000000"), place, fmt.Sprintf(format, args...))
}

// errno is the number and the text of the error that ends a dial.
func (d dial) errno() (int, string) {
	switch d {
	case rejected:
		return 113, "No route to host"
	case refused:
		return 111, "Connection refused"
	}
	return 110, "Connection timed out"
}

// master is the address of rank 0 as the rank was told, without brackets.
func (p *process) master() string { return strings.Trim(p.env["MASTER_ADDR"], "[]") }
