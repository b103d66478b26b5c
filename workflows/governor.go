package workflows

import (
	"errors"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"gpumedic/guard"
	"gpumedic/incident"
	"gpumedic/steps"
)

const (
	// defaultTTL is LeaseTTL of settings that leave it open.
	defaultTTL = 30 * time.Minute
	// leasesPerRun bounds a governor's history: after so many requests it
	// continues as new with its leases.
	leasesPerRun = 1000
)

// governor is the state of one cluster's governor.
type governor struct {
	cluster string
	leases  []incident.Lease
	// changed is set by a request, so that the wait is planned anew.
	changed bool
	handled int
}

// Governor gives leave to change things, within the budget that all incidents
// of a cluster share. It lives for ever and continues as new. A lease whose
// incident is dead is freed; what it may have isolated goes on counting.
func Governor(ctx workflow.Context, in steps.GovernorInput) error {
	g := &governor{cluster: in.Cluster, leases: in.Leases}
	err := errors.Join(
		workflow.SetQueryHandler(ctx, ViewQuery, func() ([]incident.Lease, error) { return g.leases, nil }),
		workflow.SetUpdateHandler(ctx, steps.LeaseUpdate, g.lease),
		workflow.SetUpdateHandler(ctx, steps.ReleaseUpdate, g.release),
	)
	if err != nil {
		return err
	}
	for !g.isLong(ctx) {
		g.sweep(ctx)
		if err := g.await(ctx); err != nil {
			return err
		}
	}
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, steps.GovernorType, steps.GovernorInput{Cluster: g.cluster, Leases: g.leases})
}

func (g *governor) isLong(ctx workflow.Context) bool {
	return g.handled >= leasesPerRun || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// await waits for a request, or until a lease is due.
func (g *governor) await(ctx workflow.Context) error {
	g.changed = false
	woken := func() bool { return g.changed || g.isLong(ctx) }
	if len(g.leases) == 0 {
		return workflow.Await(ctx, woken)
	}
	next := g.leases[0].Until
	for _, lease := range g.leases {
		if lease.Until.Before(next) {
			next = lease.Until
		}
	}
	pause := max(time.Second, next.Sub(workflow.Now(ctx)))
	_, err := workflow.AwaitWithTimeout(ctx, pause, woken)
	return err
}

// lease answers a request. It may be repeated.
func (g *governor) lease(ctx workflow.Context, in steps.LeaseParams) (steps.LeaseResult, error) {
	now := workflow.Now(ctx).UTC()
	g.handled++
	if held := g.find(in.Lease.OperationID); held != nil && held.State == incident.LeaseHeld {
		return steps.LeaseResult{Granted: true}, nil
	}
	if reasons := guard.Budget(g.leases, in.Lease, in.Settings, now); len(reasons) > 0 || in.Ask {
		return steps.LeaseResult{Granted: len(reasons) == 0, Reasons: reasons}, nil
	}
	g.supersede(in.Lease, now)
	given := in.Lease
	given.TTL, given.IsolatedFor = in.Settings.LeaseTTL, in.Settings.IsolatedFor
	if given.TTL <= 0 {
		given.TTL = defaultTTL
	}
	given.State, given.Since, given.Until = incident.LeaseHeld, now, now.Add(given.TTL)
	g.leases, g.changed = append(g.leases, given), true
	return steps.LeaseResult{Granted: true}, nil
}

// supersede settles what the same incident held before: it makes one change at
// a time, so a lease that it did not give back is of a change that is over,
// one way or the other.
func (g *governor) supersede(want incident.Lease, now time.Time) {
	for _, lease := range slices.Clone(g.leases) {
		if lease.State == incident.LeaseHeld && lease.Incident == want.Incident || lease.OperationID == want.OperationID {
			g.settle(lease.OperationID, true, lease.State != incident.LeaseEnded, now)
		}
	}
}

// release takes a lease back. It may be repeated.
func (g *governor) release(ctx workflow.Context, in steps.ReleaseParams) (steps.ReleaseResult, error) {
	g.handled++
	held := g.find(in.OperationID)
	if held == nil {
		return steps.ReleaseResult{}, nil
	}
	if held.State == incident.LeaseHeld {
		g.settle(in.OperationID, in.Applied, in.Isolated, workflow.Now(ctx).UTC())
	}
	return steps.ReleaseResult{Known: true}, nil
}

func (g *governor) find(operation string) *incident.Lease {
	at := slices.IndexFunc(g.leases, func(l incident.Lease) bool { return l.OperationID == operation })
	if at < 0 {
		return nil
	}
	return &g.leases[at]
}

// settle ends a lease's hold, and forgets it when it counts for nothing more.
func (g *governor) settle(operation string, applied, isolated bool, now time.Time) {
	g.changed = true
	lease := g.find(operation)
	if lease == nil {
		return
	}
	settled, keep := guard.Settle(*lease, applied, isolated, now)
	if *lease = settled; !keep {
		g.leases = slices.DeleteFunc(g.leases, func(l incident.Lease) bool { return l.OperationID == operation })
	}
}

// sweep forgets what counts no more, and looks for the incidents of leases
// that are held for long. One that cannot be looked for keeps its lease.
func (g *governor) sweep(ctx workflow.Context) {
	now := workflow.Now(ctx).UTC()
	g.leases = slices.DeleteFunc(g.leases, func(l incident.Lease) bool { return l.State != incident.LeaseHeld && !l.Until.After(now) })
	for _, lease := range slices.Clone(g.leases) {
		if lease.State != incident.LeaseHeld || lease.Until.After(now) {
			continue
		}
		result, err := call[steps.FindHolderResult](ctx, steps.FindHolder, steps.FindHolderParams{Incident: lease.Incident})
		if err == nil && !result.Open {
			workflow.GetLogger(ctx).Warn("a lease is freed, because its incident is closed", "incident", lease.Incident, "operation", lease.OperationID)
			g.settle(lease.OperationID, true, true, workflow.Now(ctx).UTC())
			continue
		}
		if held := g.find(lease.OperationID); held != nil && held.State == incident.LeaseHeld {
			held.Until = workflow.Now(ctx).UTC().Add(held.TTL)
		}
	}
}
