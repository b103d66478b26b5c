package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"golang.org/x/term"

	"gpumedic/incident"
	"gpumedic/report"
	"gpumedic/workflows"
)

// follow follows an incident on this terminal to its end and prints the report.
func follow(cmd *cobra.Command, desk *desk, id string) error {
	f := &follower{
		incidents: desk, id: id, progress: cmd.ErrOrStderr(), every: 500 * time.Millisecond,
		me: func() (incident.Approver, error) { return approver(desk.cfg) },
	}
	if cmd.InOrStdin() == os.Stdin && term.IsTerminal(int(os.Stdin.Fd())) {
		f.lines = linesOf(cmd.Context(), os.Stdin)
	}
	view, err := f.run(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprint(cmd.OutOrStdout(), report.Text(view.Record))
	if !slices.Contains([]string{incident.Resolved, incident.NoCause, incident.SelfResolved}, view.Record.Outcome) {
		return &exit{badNews, nil}
	}
	return nil
}

// linesOf reads what is typed. Reading a terminal cannot be interrupted, so
// the goroutine ends with the input or, at the latest, with the process.
func linesOf(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// incidents is what a follower needs of the desk.
type incidents interface {
	View(ctx context.Context, id string) (workflows.View, error)
	Vote(ctx context.Context, id, delivery string, vote incident.Vote) (workflows.VoteResult, error)
	Ending(ctx context.Context, id string) (ending, error)
}

// follower tells what happens in an incident, as it happens, and asks when the
// incident asks.
type follower struct {
	incidents incidents
	id        string
	progress  io.Writer
	every     time.Duration
	// lines is what a person types; nil when nobody sits there.
	lines <-chan string
	me    func() (incident.Approver, error)

	// told counts the events of the story that were shown.
	told int
	// asked is the plan last shown; open says that its answer is awaited.
	asked string
	open  bool
	// voter is set while open.
	voter incident.Approver
	mute  bool
}

// run returns the last view once the incident has ended.
func (f *follower) run(ctx context.Context) (workflows.View, error) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		view, ended, err := f.look(ctx)
		if err != nil || ended {
			return view, err
		}
		select {
		case <-ctx.Done():
			return view, &exit{notPossible, fmt.Errorf("following %s: %w (it goes on without you)", f.id, ctx.Err())}
		case line, more := <-f.lines:
			if !more {
				f.lines, f.open = nil, false // the terminal is gone; others may answer
				continue
			}
			f.answer(ctx, view, line)
		case <-ticker.C:
		}
	}
}

// look asks once how the incident is. What cannot be asked now is asked again:
// the incident survives that, so its follower does too.
func (f *follower) look(ctx context.Context) (view workflows.View, ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	view, err = f.incidents.View(ctx, f.id)
	if err == nil {
		f.mute = false
		f.show(view)
		ended, err = f.ended(ctx, view)
	}
	var missing *serviceerror.NotFound
	var final *exit
	switch {
	case err == nil || errors.As(err, &final):
		return view, ended, err
	case errors.As(err, &missing):
		return view, false, &exit{notPossible, err}
	}
	if !f.mute {
		f.mute = true
		f.say("no answer; waiting (is Temporal running, and a worker of this cluster?): %v", err)
	}
	return view, false, nil
}

// ended says whether there is nothing more to come. An incident that belongs
// to another target goes on there.
func (f *follower) ended(ctx context.Context, view workflows.View) (bool, error) {
	end, err := f.incidents.Ending(ctx, f.id)
	switch {
	case err != nil || end.open:
		return false, err
	case end.broken != "":
		return false, &exit{badNews, fmt.Errorf("following %s: it did not end by itself: %s", f.id, end.broken)}
	case view.State != "closed": // it ended after the view was taken
		return false, nil
	case end.joined != "":
		f.say("goes on as %s", end.joined)
		f.id, f.told = end.joined, 0
		return false, nil
	}
	return true, nil
}

// show tells what is new.
func (f *follower) show(view workflows.View) {
	if f.told > len(view.Record.Story) { // it began anew, for alerts that came late
		f.told = 0
	}
	for _, event := range view.Record.Story[f.told:] {
		fmt.Fprintf(f.progress, "%s  %-9s %s\n", event.At.Local().Format(time.TimeOnly), event.Kind, event.Text)
	}
	f.told = len(view.Record.Story)
	switch {
	case view.Asking == nil && f.open:
		f.open = false
		f.say("the plan no longer waits for an answer")
	case view.Asking != nil && view.Asking.Hash != f.asked:
		f.ask(view)
	}
}

// ask shows the plan, and the question where somebody can answer it here.
func (f *follower) ask(view workflows.View) {
	plan := view.Asking
	f.asked, f.open = plan.Hash, false
	f.say("\n%s\nrisk %s, restarts %d pods, costs %.1f GPU-hours\n\n%s", plan.Summary, plan.Risk, plan.PodsRestarted, plan.GPUHoursLost, strings.TrimRight(plan.Diff, "\n"))
	elsewhere := fmt.Sprintf("\nwaits for approval until %s:\n  gpumedic approve %s --plan %s",
		view.Deadline.Local().Format(time.DateTime), f.id, plan.Hash)
	if f.lines == nil {
		f.say("%s", elsewhere)
		return
	}
	me, err := f.me()
	if err != nil {
		f.say("%v%s", err, elsewhere)
		return
	}
	f.forget()
	f.open, f.voter = true, me
	f.prompt()
}

// forget drops what was typed before the question was there.
func (f *follower) forget() {
	select {
	case _, more := <-f.lines:
		if !more {
			f.lines = nil
		}
	default:
	}
}

func (f *follower) prompt() { fmt.Fprint(f.progress, "\napprove? [y/N] ") }

// answer casts the vote of a typed line. Only a clear yes is one.
func (f *follower) answer(ctx context.Context, view workflows.View, line string) {
	if !f.open || view.Asking == nil || view.Asking.Hash != f.asked {
		return
	}
	f.open = false
	vote := incident.Vote{By: f.voter.Name, Via: "terminal", PlanHash: f.asked, Verdict: incident.Deny, Reason: "denied at the terminal"}
	if word := strings.ToLower(strings.TrimSpace(line)); word == "y" || word == "yes" {
		vote.Verdict, vote.Reason = incident.Approve, ""
	}
	result, err := f.incidents.Vote(ctx, f.id, "terminal-"+uuid.NewString(), vote)
	var no *rejected
	switch {
	case errors.As(err, &no):
		f.say("your vote does not count: %v", no)
	case err != nil:
		f.say("your vote did not arrive: %v", err)
		f.open = true
		f.prompt()
	case !result.Decided:
		f.say("%d of %d approvals are there", result.Approvals, result.Needed)
	}
}

func (f *follower) say(format string, args ...any) { fmt.Fprintf(f.progress, format+"\n", args...) }
