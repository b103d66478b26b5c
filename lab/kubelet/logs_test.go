package kubelet

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// clock gives each line a second more than the one before.
func clock() func() time.Time {
	n := -1
	return func() time.Time {
		n++
		return start.Add(time.Duration(n) * time.Second)
	}
}

func fileOf(text string) *logFile {
	f := newLogFile(clock())
	_, _ = f.Write([]byte(text)) // cannot fail
	f.close()
	return f
}

func texts(lines []line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, string(l.text))
	}
	return out
}

func TestLinesAreCutAtTheirEnd(t *testing.T) {
	f := newLogFile(clock())
	for _, part := range []string{"on", "e\ntwo\n\nth", "ree"} {
		_, _ = f.Write([]byte(part))
	}
	lines, _, open, _ := f.from(0)
	if diff := cmp.Diff([]string{"one", "two", ""}, texts(lines)); diff != "" || !open {
		t.Errorf("before the end (open %v):\n%s", open, diff)
	}
	f.close()
	lines, next, open, _ := f.from(3)
	if diff := cmp.Diff([]string{"three"}, texts(lines)); diff != "" || open || next != 4 {
		t.Errorf("after the end (open %v, next %d):\n%s", open, next, diff)
	}
}

func TestALineThatDoesNotEndIsCut(t *testing.T) {
	lines, _, _, _ := fileOf(strings.Repeat("x", 2*maxLineBytes+5)).from(0)
	var sizes []int
	for _, l := range lines {
		sizes = append(sizes, len(l.text))
	}
	if diff := cmp.Diff([]int{maxLineBytes, maxLineBytes, 5}, sizes); diff != "" {
		t.Error(diff)
	}
}

// Old lines go; a reader that stands among them goes on with what is left.
func TestLogsAreBounded(t *testing.T) {
	f := newLogFile(clock())
	for n := range maxLines + 1 {
		fmt.Fprintf(f, "%d\n", n)
	}
	lines, next, _, _ := f.from(5)
	if len(lines) > maxLines || next != maxLines+1 || string(lines[len(lines)-1].text) != fmt.Sprint(maxLines) {
		t.Errorf("%d lines, next %d, last %q", len(lines), next, lines[len(lines)-1].text)
	}
	if first := string(lines[0].text); first != fmt.Sprint(maxLines/10) {
		t.Errorf("first %s", first)
	}
}

func TestAFollowerIsWoken(t *testing.T) {
	f := newLogFile(clock())
	_, next, _, changed := f.from(0)
	go fmt.Fprintln(f, "late")
	if !await(t.Context(), changed) {
		t.Fatal("not woken")
	}
	if lines, _, _, _ := f.from(next); len(lines) != 1 {
		t.Errorf("%d lines", len(lines))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, changed := f.from(0); await(ctx, changed) {
		t.Error("a follower who left was woken")
	}
}

func TestWhatIsServed(t *testing.T) {
	file := fileOf("a\nbb\nccc\n")
	for _, c := range []struct{ query, want string }{
		{"", "a\nbb\nccc\n"},
		{"tailLines=2", "bb\nccc\n"},
		{"tailLines=0", ""},
		{"tailLines=9", "a\nbb\nccc\n"},
		{"limitBytes=3", "a\nb"},
		{"limitBytes=2", "a\n"},
		{"sinceTime=2026-11-24T03:00:02Z", "ccc\n"},
		{"sinceTime=2026-11-24T03:00:02Z&tailLines=2&timestamps=true", "2026-11-24T03:00:02.000000000Z ccc\n"},
		{"follow=true", "a\nbb\nccc\n"}, // has ended: nothing more comes
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/containerLogs/n/p/c?"+c.query, nil)
		request, err := parseLogRequest(r)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		w := httptest.NewRecorder()
		stream(w, r, file, request)
		if diff := cmp.Diff(c.want, w.Body.String()); diff != "" {
			t.Errorf("%s:\n%s", c.query, diff)
		}
	}
}

func TestBadLogRequestsNameTheOption(t *testing.T) {
	for _, option := range []string{"tailLines", "limitBytes", "sinceTime", "sinceSeconds"} {
		_, err := parseLogRequest(httptest.NewRequestWithContext(t.Context(), "GET", "/?"+option+"=soon", nil))
		if err == nil || !strings.HasPrefix(err.Error(), option+": ") {
			t.Errorf("%s: %v", option, err)
		}
	}
}
