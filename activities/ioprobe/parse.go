package ioprobe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// said is what a probe printed.
type said struct {
	simulated bool
	host      string
	volumes   []volumeSaid
	// ended: the script came to its end.
	ended bool
	// broken says what is wrong with the log, "" when nothing is; last is its last
	// line that is no event, a program's complaint.
	broken, last string
}

// volumeSaid is what it printed of one path.
type volumeSaid struct {
	path string
	// files were looked at, with this median size; complete when these are all.
	files    int
	median   int64
	complete bool
	speeds   []incident.ReadSpeed
	// errors are as in "EIO while reading /data/x".
	errors []string
}

func (v volumeSaid) speed(test string) (incident.ReadSpeed, bool) {
	at := slices.IndexFunc(v.speeds, func(s incident.ReadSpeed) bool { return s.Test == test })
	if at < 0 {
		return incident.ReadSpeed{}, false
	}
	return v.speeds[at], true
}

// event is one line; the package comment lists them.
type event struct {
	Event     string `json:"event"`
	Host      string `json:"host"`
	Simulated bool   `json:"simulated"`
	Version   string `json:"version"`
	Streams   int    `json:"streams"`

	Path     string `json:"path"`
	Files    int    `json:"files"`
	Median   int64  `json:"median_bytes"`
	Complete bool   `json:"complete"`
	incident.ReadSpeed

	Op     string `json:"op"`
	Errno  string `json:"errno"`
	Detail string `json:"detail"`
	OK     bool   `json:"ok"`
}

// parse reads a log. Lines that are no JSON objects are a program's own; an event
// that is not what the script prints spoils the whole log.
func parse(text []byte) said {
	var s said
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(line, []byte("{")) {
			if len(line) > 0 {
				s.last = clip(string(line), 200)
			}
			continue
		}
		if err := s.take(line); err != nil {
			s.broken = fmt.Sprintf("its log has a line that no probe prints (%v): %s", err, clip(string(line), 120))
			return s
		}
	}
	return s
}

func (s *said) take(line []byte) error {
	var e event
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return err
	}
	if e.Event != "start" && s.host == "" {
		return fmt.Errorf("%q before the start", e.Event)
	}
	switch e.Event {
	case "start":
		s.host, s.simulated = e.Host, e.Simulated
		if e.Host == "" {
			return fmt.Errorf("a start without a host")
		}
	case "tree":
		s.volumes = append(s.volumes, volumeSaid{path: e.Path, files: e.Files, median: e.Median, complete: e.Complete})
	case "measure":
		return s.measured(e)
	case "error":
		v := s.volumeOf(e.Path)
		v.errors = append(v.errors, strings.TrimSpace(e.Errno+" while reading "+e.Path+wordsOf(e)))
	case "end":
		s.ended = e.OK
	default:
		return fmt.Errorf("unknown event %q", e.Event)
	}
	return nil
}

// wordsOf is the error's text where its number has no name.
func wordsOf(e event) string {
	if e.Errno != "" || e.Detail == "" {
		return ""
	}
	return ": " + clip(e.Detail, 160)
}

func (s *said) measured(e event) error {
	speed := e.ReadSpeed
	at := slices.IndexFunc(s.volumes, func(v volumeSaid) bool { return v.path == e.Path })
	switch {
	case at < 0:
		return fmt.Errorf("a measurement of a path that was not looked at")
	case !slices.Contains([]string{incident.ReadSequential, incident.ReadRandom, incident.ReadFiles}, speed.Test):
		return fmt.Errorf("unknown test %q", speed.Test)
	case speed.Reads <= 0 || speed.Bytes <= 0 || speed.Seconds <= 0 || speed.MBps <= 0 || speed.ReadsPerSecond <= 0 || speed.P50 < 0 || speed.P99 < speed.P50:
		return fmt.Errorf("figures that cannot be")
	}
	if _, twice := s.volumes[at].speed(speed.Test); twice {
		return fmt.Errorf("test %s twice", speed.Test)
	}
	s.volumes[at].speeds = append(s.volumes[at].speeds, speed)
	return nil
}

// volumeOf is the volume that a path belongs to; where none is known, as when
// the root itself cannot be listed, it is one of its own. fio names streams and
// not paths: those belong to the volume looked at last.
func (s *said) volumeOf(path string) *volumeSaid {
	for i := range s.volumes {
		if path == s.volumes[i].path || strings.HasPrefix(path, strings.TrimSuffix(s.volumes[i].path, "/")+"/") {
			return &s.volumes[i]
		}
	}
	if len(s.volumes) > 0 && !strings.HasPrefix(path, "/") {
		return &s.volumes[len(s.volumes)-1]
	}
	s.volumes = append(s.volumes, volumeSaid{path: path})
	return &s.volumes[len(s.volumes)-1]
}

func clip(text string, room int) string {
	if len(text) <= room {
		return text
	}
	return strings.ToValidUTF8(text[:room], "") + "..."
}
