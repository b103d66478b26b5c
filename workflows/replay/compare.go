package replay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	historypb "go.temporal.io/api/history/v1"
)

// recorded lists what the workflow asked for when the history was written.
func recorded(history *historypb.History) []call {
	var calls []call
	for _, event := range history.GetEvents() {
		c := call{event: event.GetEventId()}
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
			c.kind, c.name, c.args = step, a.GetActivityType().GetName(), a.GetInput()
		} else if a := event.GetStartChildWorkflowExecutionInitiatedEventAttributes(); a != nil {
			c.kind, c.name, c.args = child, a.GetWorkflowType().GetName(), a.GetInput()
		} else if a := event.GetSignalExternalWorkflowExecutionInitiatedEventAttributes(); a != nil {
			c.kind, c.name, c.args = signal, a.GetSignalName(), a.GetInput()
		} else if a := event.GetWorkflowExecutionContinuedAsNewEventAttributes(); a != nil {
			c.kind, c.args = next, a.GetInput()
		} else if a := event.GetWorkflowExecutionCompletedEventAttributes(); a != nil {
			c.kind, c.args = resulted, a.GetResult()
		} else {
			continue
		}
		calls = append(calls, c)
	}
	return calls
}

// compare lists the differences in the order of events. Whole says that the
// replay ran to its end; then a recorded call that was not made is one too.
func compare(was, is []call, whole bool) []Difference {
	var found []Difference
	for _, kind := range kinds {
		found = append(found, align(only(was, kind), only(is, kind), whole)...)
	}
	slices.SortStableFunc(found, func(a, b Difference) int { return cmp.Compare(a.Event, b.Event) })
	return found
}

func only(calls []call, kind kind) []call {
	return slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c.kind != kind })
}

// align pairs recorded with replayed calls, in order. There may be more
// replayed ones: what is cancelled in the task that asked for it is never
// recorded, nor is what an unfinished task asked for. A call is passed over
// only while there are such extra ones and a later one fits exactly.
func align(was, is []call, whole bool) []Difference {
	var found []Difference
	for i, old := range was {
		if len(is) == 0 {
			if whole {
				found = append(found, Difference{old.event, describe(old), "is no longer asked for"})
			}
			continue
		}
		extra := max(0, len(is)-(len(was)-i))
		at := slices.IndexFunc(is[:extra+1], func(c call) bool { return difference(old, c) == "" })
		if at < 0 {
			at = 0
			found = append(found, Difference{old.event, describe(old), difference(old, is[0])})
		}
		is = is[at+1:]
	}
	return found
}

func describe(c call) string {
	if c.name == "" {
		return string(c.kind)
	}
	return string(c.kind) + " " + c.name
}

// difference says how two calls differ, "" when they do not.
func difference(was, is call) string {
	switch {
	case is.broken != nil:
		return "cannot be encoded: " + is.broken.Error()
	case was.name != is.name:
		return fmt.Sprintf("now it is %q", is.name)
	case len(was.args.GetPayloads()) != len(is.args.GetPayloads()):
		return fmt.Sprintf("had %d arguments, has %d", len(was.args.GetPayloads()), len(is.args.GetPayloads()))
	}
	for i, old := range was.args.GetPayloads() {
		if text := payloads(old, is.args.GetPayloads()[i]); text != "" {
			return text
		}
	}
	return ""
}

// payloads compares JSON by meaning, so that fields may change places in a
// struct, and everything else by its bytes.
func payloads(was, is *commonpb.Payload) string {
	if bytes.Equal(was.GetData(), is.GetData()) {
		return ""
	}
	before, err1 := decode(was)
	after, err2 := decode(is)
	if err1 != nil || err2 != nil {
		return fmt.Sprintf("was %d bytes, is %d other bytes", len(was.GetData()), len(is.GetData()))
	}
	return values("", before, after)
}

func decode(p *commonpb.Payload) (any, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(p.GetData()))
	decoder.UseNumber() // large numbers differ in their last digit too
	err := decoder.Decode(&value)
	return value, err
}

// values names the first place where two JSON values differ, "" when they are
// the same.
func values(path string, was, is any) string {
	if reflect.DeepEqual(was, is) {
		return ""
	}
	switch old := was.(type) {
	case map[string]any:
		if now, ok := is.(map[string]any); ok {
			return objects(path, old, now)
		}
	case []any:
		if now, ok := is.([]any); ok {
			return lists(path, old, now)
		}
	}
	return fmt.Sprintf("%swas %s, is %s", place(path), show(was), show(is))
}

func objects(path string, was, is map[string]any) string {
	keys := slices.Collect(maps.Keys(was))
	keys = slices.AppendSeq(keys, maps.Keys(is))
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		old, had := was[key]
		now, has := is[key]
		at := path + "." + key
		switch {
		case !had:
			return fmt.Sprintf("%swas not set, is %s", place(at), show(now))
		case !has:
			return fmt.Sprintf("%swas %s, is not set", place(at), show(old))
		}
		if text := values(at, old, now); text != "" {
			return text
		}
	}
	return ""
}

func lists(path string, was, is []any) string {
	if len(was) != len(is) {
		return fmt.Sprintf("%shad %d entries, has %d", place(path), len(was), len(is))
	}
	for i := range was {
		if text := values(fmt.Sprintf("%s[%d]", path, i), was[i], is[i]); text != "" {
			return text
		}
	}
	return ""
}

func place(path string) string {
	if path == "" {
		return ""
	}
	return strings.TrimPrefix(path, ".") + " "
}

// show cuts long values: a plan is a page, its difference is a line.
func show(value any) string {
	data, err := json.Marshal(value)
	if err != nil { // values that were decoded from JSON
		return fmt.Sprint(value)
	}
	if text := []rune(string(data)); len(text) > 120 {
		return string(text[:120]) + "..."
	}
	return string(data)
}
