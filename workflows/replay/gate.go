package replay

import (
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
)

// call is one thing that a workflow asked for, recorded or replayed.
type call struct {
	// event is its number in the history, 0 for a replayed one.
	event int64
	kind  kind
	// name of the step, child workflow or signal; "" for a result.
	name string
	args *commonpb.Payloads
	// broken says why args could not be encoded.
	broken error
}

// kind of call; its text is how a difference names it.
type kind string

const (
	step     kind = "input of step"
	child    kind = "input of child workflow"
	signal   kind = "content of signal"
	next     kind = "input of the continued run"
	resulted kind = "result of the workflow"
)

// kinds in the order in which they are compared.
var kinds = []kind{step, child, signal, next, resulted}

// gate notes what the replayed workflow asks for. The SDK runs the workflow's
// coroutines one at a time, so no lock is needed.
type gate struct {
	interceptor.WorkerInterceptorBase
	calls []call
}

// InterceptWorkflow stands between the workflow and the SDK.
func (g *gate) InterceptWorkflow(_ workflow.Context, following interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &inbound{gate: g}
	in.Next = following
	return in
}

// note encodes at once: the workflow may alter its values afterwards.
func (g *gate) note(kind kind, name string, args ...any) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(args...)
	g.calls = append(g.calls, call{kind: kind, name: name, args: payloads, broken: err})
}

type inbound struct {
	interceptor.WorkflowInboundInterceptorBase
	gate *gate
}

// Init puts the gate in front of what the workflow calls.
func (i *inbound) Init(following interceptor.WorkflowOutboundInterceptor) error {
	out := &outbound{gate: i.gate}
	out.Next = following
	return i.Next.Init(out)
}

// ExecuteWorkflow notes the result of a workflow that completed.
func (i *inbound) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	result, err := i.Next.ExecuteWorkflow(ctx, in)
	if err == nil {
		i.gate.note(resulted, "", result)
	}
	return result, err
}

type outbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	gate *gate
}

// ExecuteActivity notes a step.
func (o *outbound) ExecuteActivity(ctx workflow.Context, name string, args ...any) workflow.Future {
	o.gate.note(step, name, args...)
	return o.Next.ExecuteActivity(ctx, name, args...)
}

// ExecuteChildWorkflow notes a child.
func (o *outbound) ExecuteChildWorkflow(ctx workflow.Context, name string, args ...any) workflow.ChildWorkflowFuture {
	o.gate.note(child, name, args...)
	return o.Next.ExecuteChildWorkflow(ctx, name, args...)
}

// SignalExternalWorkflow notes a signal to another workflow.
func (o *outbound) SignalExternalWorkflow(ctx workflow.Context, id, run, name string, arg any) workflow.Future {
	o.gate.note(signal, name, arg)
	return o.Next.SignalExternalWorkflow(ctx, id, run, name, arg)
}

// SignalChildWorkflow notes a signal to a child.
func (o *outbound) SignalChildWorkflow(ctx workflow.Context, id, name string, arg any) workflow.Future {
	o.gate.note(signal, name, arg)
	return o.Next.SignalChildWorkflow(ctx, id, name, arg)
}

// NewContinueAsNewError notes what the next run is given.
func (o *outbound) NewContinueAsNewError(ctx workflow.Context, wf any, args ...any) error {
	o.gate.note(next, "", args...)
	return o.Next.NewContinueAsNewError(ctx, wf, args...)
}
