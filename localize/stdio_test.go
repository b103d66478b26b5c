package localize

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gpumedic/incident"
)

// TestStdioTranscript plays testdata/stdio.txt: "<" lines go in, ">" lines must
// come out, byte for byte, "#" lines are prose.
func TestStdioTranscript(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "stdio.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var in, want []string
	for line := range strings.Lines(string(data)) {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "< "):
			in = append(in, text[2:])
		case strings.HasPrefix(text, "> "):
			want = append(want, text[2:])
		}
	}
	var out strings.Builder
	if err := Stdio(context.Background(), strings.NewReader(strings.Join(in, "\n")), &out); err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", out.String()); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
}

// TestStdioAnswersWhileTheOtherSideWaits: every line must come out before the
// next goes in, or both sides wait for ever.
func TestStdioAnswersWhileTheOtherSideWaits(t *testing.T) {
	nodes := cluster(8, 2)
	truth := &fabric{t: t, nodes: nodes, fails: holds("gpu-05")}
	toStdio, in := io.Pipe()
	fromStdio, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Stdio(context.Background(), toStdio, out)
		out.Close()
		done <- err
	}()
	send := json.NewEncoder(in)
	if err := send.Encode(map[string]any{"nodes": placed(nodes)}); err != nil {
		t.Fatal(err)
	}
	var verdict incident.Verdict
	for lines := bufio.NewScanner(fromStdio); lines.Scan(); {
		var line struct {
			question
			ending
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Groups == nil {
			verdict = line.Verdict
			break
		}
		reply := answer{Round: line.Round}
		for _, o := range truth.run(line.Round, line.Groups).Outcomes {
			reply.Outcomes = append(reply.Outcomes, groupOutcome{ID: o.ID, Result: o.Result, BusBWGBps: o.BusBWGBps})
		}
		slices.Reverse(reply.Outcomes) // order must not matter
		if err := send.Encode(reply); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := bad(verdict); got != "node gpu-05" {
		t.Errorf("got %q: %s", got, verdict.Why)
	}
}

func placed(nodes []incident.Node) []placedNode {
	var list []placedNode
	for _, n := range nodes {
		list = append(list, placedNode{Name: n.Name, Leaf: n.Leaf, Rack: n.Rack})
	}
	return list
}

func TestStdioNamesWhatIsWrong(t *testing.T) {
	const start = `{"nodes":[{"name":"a"},{"name":"b"}]}` + "\n"
	for name, c := range map[string]struct{ in, want string }{
		"nothing":           {"", `line 1: the input ended, want the nodes`},
		"not JSON":          {"nodes: a\n", `line 1: reading the nodes: not JSON at byte 2`},
		"half an object":    {`{"nodes":[`, `line 1: reading the nodes: not JSON: the object does not end on its line`},
		"unknown field":     {`{"node":[]}`, `line 1: reading the nodes: json: unknown field "node"`},
		"wrong type":        {`{"nodes":"a"}`, `nodes is a string`},
		"no nodes":          {`{"nodes":[]}`, `line 1: nodes is empty`},
		"nameless":          {`{"nodes":[{"leaf":"x"}]}`, `line 1: nodes[0].name is empty`},
		"twice":             {`{"nodes":[{"name":"a"},{"name":"a"}]}`, `line 1: nodes[1].name "a" is there twice`},
		"prior too large":   {`{"nodes":[{"name":"a"}],"prior":{"a":2}}`, `prior["a"] is 2`},
		"prior of nobody":   {`{"nodes":[{"name":"a"}],"prior":{"b":0.5}}`, `prior["b"] names no node`},
		"negative budget":   {`{"nodes":[{"name":"a"}],"max_rounds":-1}`, `max_rounds is -1`},
		"two objects":       {`{"nodes":[{"name":"a"}]} {}`, `something follows the object`},
		"no outcomes":       {start, `line 2: the input ended, want the outcomes of round 1`},
		"wrong round":       {start + `{"round":2,"outcomes":[{"id":"r1-g1","result":"pass"}]}`, `line 2: round is 2, want 1`},
		"blank line before": {start + "\n" + `{"round":1,"outcomes":[]}`, `line 3: outcomes: group "r1-g1" is missing`},
		"unknown group":     {start + `{"round":1,"outcomes":[{"id":"x","result":"pass"}]}`, `outcomes[0].id "x" is no group of round 1`},
		"group twice":       {start + `{"round":1,"outcomes":[{"id":"r1-g1","result":"pass"},{"id":"r1-g1","result":"fail"}]}`, `outcomes[1].id "r1-g1" is there twice`},
		"unknown result":    {start + `{"round":1,"outcomes":[{"id":"r1-g1","result":"ok"}]}`, `result is "ok", want pass, fail or error`},
		"foreign node":      {start + `{"round":1,"outcomes":[{"id":"r1-g1","result":"fail","failed_nodes":["z"]}]}`, `failed_nodes names "z"`},
		"negative speed":    {start + `{"round":1,"outcomes":[{"id":"r1-g1","result":"pass","busbw_gbps":-3}]}`, `busbw_gbps is -3`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Stdio(context.Background(), strings.NewReader(c.in), io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
