package ioprobe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gpumedic/incident"
)

// TestRecorded reads what the script printed with fio 3.33 and with Python 3.11
// over 300 files of 30 kB and seven large ones on a local disk.
func TestRecorded(t *testing.T) {
	for file, tool := range map[string]string{"fio.log": "fio-3.33", "python.log": "python"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		s := parse(text)
		if s.broken != "" || !s.ended || s.host != "gpu-03" || len(s.volumes) != 1 {
			t.Fatalf("%s: %+v", file, s)
		}
		v := s.volumes[0]
		large, ok := v.speed(incident.ReadSequential)
		if !ok || large.Tool != tool || large.MBps < 100 || len(v.speeds) != 3 || v.files != 307 || v.median != 30_000 {
			t.Errorf("%s: %+v", file, v)
		}
	}
}

const (
	started  = `{"event":"start","host":"gpu-03","tool":"python","version":"python-3.11.7","streams":4}` + "\n"
	tree     = `{"event":"tree","path":"/data","files":307,"bytes":138000000,"median_bytes":30000,"complete":true,"seconds":0.1}` + "\n"
	finished = `{"event":"end","ok":true,"seconds":9.5}` + "\n"
)

func TestParseIsStrict(t *testing.T) {
	measure := `{"event":"measure","path":"/data","test":"files","tool":"python","reads":3,"bytes":9,"seconds":1,"mbps":1,"reads_per_second":3,"p50_ms":1,"p99_ms":2}` + "\n"
	for name, c := range map[string]struct{ text, broken string }{
		"good":                    {started + tree + measure + finished, ""},
		"a program's own words":   {"WARNING: something\n" + started + "hello\n" + tree + measure, ""},
		"no start":                {tree, "before the start"},
		"a start without a host":  {`{"event":"start"}`, "without a host"},
		"unknown field":           {started + `{"event":"tree","path":"/data","owner":"x"}`, "unknown field"},
		"unknown event":           {started + `{"event":"party"}`, "unknown event"},
		"cut off":                 {started + tree + measure[:40], "no probe prints"},
		"unknown test":            {started + tree + strings.Replace(measure, `"files"`, `"dance"`, 1), "unknown test"},
		"a path nobody looked at": {started + measure, "not looked at"},
		"twice":                   {started + tree + measure + measure, "twice"},
		"no bytes":                {started + tree + strings.Replace(measure, `"bytes":9`, `"bytes":0`, 1), "cannot be"},
		"negative latency":        {started + tree + strings.Replace(measure, `"p50_ms":1`, `"p50_ms":-1`, 1), "cannot be"},
		"quicker than its median": {started + tree + strings.Replace(measure, `"p99_ms":2`, `"p99_ms":0.5`, 1), "cannot be"},
		"text for a number":       {started + tree + strings.Replace(measure, `"reads":3`, `"reads":"3"`, 1), "no probe prints"},
	} {
		if s := parse([]byte(c.text)); c.broken == "" && s.broken != "" || !strings.Contains(s.broken, c.broken) {
			t.Errorf("%s: broken is %q, want ...%s...", name, s.broken, c.broken)
		}
	}
}

// TestErrorsBelongToTheirVolume: fio names streams, Python paths.
func TestErrorsBelongToTheirVolume(t *testing.T) {
	s := parse([]byte(started + tree +
		`{"event":"error","path":"/data/shards/7.tar","op":"sequential","errno":"EIO","detail":"[Errno 5]"}` + "\n" +
		`{"event":"error","path":"stream1","op":"random","errno":"ESTALE","detail":"stale"}` + "\n" +
		`{"event":"error","path":"/other","op":"list","errno":"","detail":"fio said nothing"}` + "\n"))
	if s.broken != "" || len(s.volumes) != 2 || len(s.volumes[0].errors) != 2 || s.volumes[0].errors[0] != "EIO while reading /data/shards/7.tar" {
		t.Fatalf("%+v", s)
	}
	if got := s.volumes[1].errors[0]; got != "while reading /other: fio said nothing" {
		t.Errorf("got %q", got)
	}
}
