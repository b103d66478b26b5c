package ioprobe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gpumedic/incident"
)

// python returns the interpreter, or skips: the script runs in the probe's
// image, so this machine need not have one.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on this machine")
	}
	return path
}

// dataset makes large and small files; one has a name that fio would take apart.
func dataset(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]int{"shards/a.tar": 5 << 20, "shards/b.tar": 6 << 20, "shards/odd:na me.bin": 4 << 20}
	for i := range 40 {
		files[fmt.Sprintf("images/%02d/%03d.jpg", i%4, i)] = 30_000
	}
	for name, size := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte("gpumedic"), size/8), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// probe runs the script on a directory and parses what it prints.
func probe(t *testing.T, tool string, maxBytes int, dirs ...string) said {
	t.Helper()
	paths, err := json.Marshal(dirs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), "-B", filepath.Join("script", scriptFile))
	cmd.Env = append(os.Environ(), "IOPROBE_TOOL="+tool, "NODE_NAME=gpu-03", "IOPROBE_PATHS="+string(paths),
		fmt.Sprint("IOPROBE_BYTES=", maxBytes), "IOPROBE_SECONDS=20", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := parse(out)
	if s.broken != "" || !s.ended || s.host != "gpu-03" || s.simulated {
		t.Fatalf("broken %q, ended %v, host %q\n%s", s.broken, s.ended, s.host, out)
	}
	return s
}

// TestScriptReads: both tools read real files, and what they print is strict.
func TestScriptReads(t *testing.T) {
	for tool, program := range map[string]string{"python": "python3", "fio": "fio"} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(program + " is not on this machine; its recorded output is parsed in TestRecorded")
			}
			dir := dataset(t)
			s := probe(t, tool, 64<<20, dir)
			v := s.volumes[0]
			if v.path != dir || v.files != 43 || v.median != 30_000 || !v.complete || len(v.errors) != 0 {
				t.Errorf("tree %+v", v)
			}
			for _, test := range []string{incident.ReadSequential, incident.ReadRandom, incident.ReadFiles} {
				speed, ok := v.speed(test)
				if !ok || !strings.HasPrefix(speed.Tool, tool) && test != incident.ReadFiles {
					t.Errorf("%s: %+v", test, speed)
				}
			}
			if large, _ := v.speed(incident.ReadSequential); large.Bytes < 14<<20 || large.Bytes > 15<<20 {
				t.Errorf("%d bytes were read of 15 MiB: not all, or some twice", large.Bytes)
			}
			if small, _ := v.speed(incident.ReadFiles); small.Reads != 40 || small.Bytes != 40*30_000 {
				t.Errorf("small files: %+v", small)
			}
		})
	}
}

// TestScriptIsBounded: it stops at its bytes, give or take a block of each stream.
func TestScriptIsBounded(t *testing.T) {
	s := probe(t, "python", 4<<20, dataset(t))
	var bytes int64
	for _, speed := range s.volumes[0].speeds {
		bytes += speed.Bytes
	}
	if bytes > (4+streams)<<20 {
		t.Errorf("%d bytes were read, the bound is %d", bytes, 4<<20)
	}
}

// TestScriptMeetsTrouble: what cannot be read is told with its errno, and the
// rest is read.
func TestScriptMeetsTrouble(t *testing.T) {
	dir := dataset(t)
	s := probe(t, "python", 16<<20, filepath.Join(dir, "nowhere"), filepath.Join(dir, "images"))
	if len(s.volumes) != 2 || !slices.Equal(s.volumes[0].errors, []string{"ENOENT while reading " + filepath.Join(dir, "nowhere")}) {
		t.Fatalf("volumes %+v", s.volumes)
	}
	if _, large := s.volumes[1].speed(incident.ReadSequential); large {
		t.Error("a large read among small files")
	}
	if _, small := s.volumes[1].speed(incident.ReadFiles); !small {
		t.Error("the second path was not read")
	}
}

// TestFioPassesByWhatItCannotOpen: by itself fio would wait for it for ever.
func TestFioPassesByWhatItCannotOpen(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("fio is not on this machine")
	}
	shards := filepath.Join(dataset(t), "shards")
	program := `
import fio, sys
good, gone = (sys.argv[1] + "/a.tar", 5 << 20), (sys.argv[1] + "/gone.tar", 5 << 20)
for test in fio.sequential, fio.at_random:
    found, errors = test([gone, good], 2, 8 << 20, 5)
    assert found["reads"] > 0 and [path for path, _ in errors] == [gone[0]], (found, errors)
    found, errors = test([gone], 2, 8 << 20, 5)
    assert found is None and errors[0][1].errno == 2, (found, errors)
`
	ctx, done := context.WithTimeout(t.Context(), 15*time.Second)
	defer done()
	cmd := exec.CommandContext(ctx, python(t), "-B", "-c", program, shards)
	cmd.Env = append(os.Environ(), "PYTHONPATH=script", "HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestScriptAndHandsAgree: both sides of the contract name the same things, and
// what is mounted is all that is there.
func TestScriptAndHandsAgree(t *testing.T) {
	p, at := params(), somePlace()
	data := configMapFor(jobFor(p, at, "")).Data
	text := ""
	for _, part := range data {
		text += part
	}
	if data[scriptFile] == "" || len(data) != 4 {
		t.Errorf("the config map has %d files", len(data))
	}
	for _, v := range environment(p, at) {
		if strings.HasPrefix(v.Name, "IOPROBE_") && !strings.Contains(text, `"`+v.Name+`"`) {
			t.Errorf("the script does not read %s", v.Name)
		}
	}
	for _, test := range []string{incident.ReadSequential, incident.ReadRandom, incident.ReadFiles} {
		if !strings.Contains(text, `"`+test+`"`) {
			t.Errorf("the script knows no test %q", test)
		}
	}
}
