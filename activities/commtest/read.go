package commtest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// maxLine bounds one log line; the rest of a longer one is dropped.
	maxLine = 64 << 10
	// maxEvents bounds what a log may contribute, whatever it contains.
	maxEvents = 10_000
)

// event is one JSON line of the test's program. Rank is a completion index.
//
//	start  every rank: World (ranks), Procs (processes, 0 = not told), Backend,
//	       and the versions of what measures: Torch, NCCL, Device, Launcher
//	point  rank 0, per collective and size: Op, Bytes, TimeMS, BusBW (GB/s),
//	       Wrong (wrong elements)
//	rank   every process: Seconds of its own work and what they consist of,
//	       Late, Work and Exchange, to name a slow one; see times.go
//	end    rank 0: OK, World
//	error  any rank: Phase, Missing ranks, Detail; Echo when it only repeats
//	       what another rank saw; TimedOut when it waited in vain; the number of
//	       collectives that this process had Entered by then, nil = not told
type event struct {
	Event     string  `json:"event"`
	Rank      int     `json:"rank"`
	Local     int     `json:"local"`
	World     int     `json:"world"`
	Procs     int     `json:"procs"`
	Host      string  `json:"host"`
	Backend   string  `json:"backend"`
	Torch     string  `json:"torch"`
	NCCL      string  `json:"nccl"`
	Device    string  `json:"device"`
	Simulated bool    `json:"simulated"`
	Op        string  `json:"op"`
	Bytes     int64   `json:"bytes"`
	TimeMS    float64 `json:"time_ms"`
	BusBW     float64 `json:"busbw_gbps"`
	Wrong     int64   `json:"wrong"`
	Seconds   float64 `json:"seconds"`
	Compute   float64 `json:"compute_seconds"`
	Copy      float64 `json:"copy_seconds"`
	Late      float64 `json:"late_seconds"`
	Work      float64 `json:"work_seconds"`
	Exchange  float64 `json:"exchange_seconds"`
	OK        bool    `json:"ok"`
	Phase     string  `json:"phase"`
	Missing   []int   `json:"missing"`
	Detail    string  `json:"detail"`
	Echo      bool    `json:"echo"`
	TimedOut  bool    `json:"timed_out"`
	Entered   *int    `json:"entered"`
}

// op is the collective of a point; a program that names none means all_reduce.
func (e event) op() string { return cmp.Or(e.Op, allReduce) }

// RankLog is what one rank's log told, and how its pod ended.
type RankLog struct {
	Rank int
	Node string
	Pod  string
	// Unreadable says why the log is missing or incomplete; "" = read to its end.
	Unreadable string
	// Exit is nil while the program runs.
	Exit *Exit
	// Simulated: the program says that no real GPU took part.
	Simulated bool

	starts, points, times, errors, ends []event
	// malformed is the first line that began like an event and was none.
	malformed string
	// networks are what NCCL chose ("Using network X"), channels what its
	// channels between nodes use; both normalised, sorted, each once.
	networks, channels []string
	// last is the last line that was neither an event nor NCCL's: what a
	// program that crashed had to say.
	last string
}

// Exit is how a rank's container ended.
type Exit struct {
	Code int
	// Reason is the container runtime's word: "OOMKilled", "Error".
	Reason string
	// Disrupted says that the cluster took the pod away (eviction,
	// preemption, node shutdown); "" when it did not.
	Disrupted string
}

var (
	usingNetwork = regexp.MustCompile(`NCCL INFO Using network (.+?)\s*$`)
	viaNet       = regexp.MustCompile(`NCCL INFO Channel .* via NET/([^/]+)/\d+`)
)

// Read reads one rank's log, with or without the API server's time stamps, in
// one pass and bounded memory. An error means that the log broke off.
func Read(r io.Reader) (RankLog, error) {
	var log RankLog
	err := eachLine(r, log.take)
	return log, err
}

// eachLine gives every line that is not empty, without the API server's time
// stamp. An error means that the log broke off.
func eachLine(r io.Reader, take func(line string)) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := readLine(lines)
		if len(line) > 0 {
			take(string(trimStamp(line)))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine returns a line without its end, cut to maxLine. The slice is valid
// until the next call.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimRight(line, "\r\n"), err
	}
	line = bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return line, err
}

func trimStamp(line []byte) []byte {
	stamp, rest, found := bytes.Cut(line, []byte(" "))
	if !found {
		return line
	}
	if _, err := time.Parse(time.RFC3339Nano, string(stamp)); err != nil {
		return line
	}
	return rest
}

func (l *RankLog) take(line string) {
	if at := strings.Index(line, `{"event"`); at >= 0 {
		l.takeEvent(line[at:])
		return
	}
	if match := usingNetwork.FindStringSubmatch(line); match != nil {
		l.networks = addOnce(l.networks, transportName(match[1]))
		return
	}
	if match := viaNet.FindStringSubmatch(line); match != nil {
		l.channels = addOnce(l.channels, transportName(match[1]))
		return
	}
	if text := strings.TrimSpace(line); text != "" && !strings.Contains(text, "NCCL INFO") {
		l.last = clip(text, 300)
	}
}

func (l *RankLog) takeEvent(text string) {
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		l.note(text)
		return
	}
	l.Simulated = l.Simulated || e.Simulated
	kept := map[string]*[]event{"start": &l.starts, "point": &l.points, "rank": &l.times, "error": &l.errors, "end": &l.ends}[e.Event]
	if kept == nil || len(*kept) >= maxEvents {
		l.note(text)
		return
	}
	*kept = append(*kept, e)
}

func (l *RankLog) note(text string) {
	if l.malformed == "" {
		l.malformed = clip(text, 200)
	}
}

// transportName brings the names of several NCCL and plugin versions together.
func transportName(name string) string {
	switch name = strings.TrimSpace(name); {
	case name == "IB" || name == "IBext" || strings.HasPrefix(name, "IBext_"):
		return "IB"
	case name == "AWS Libfabric":
		return "Libfabric"
	default:
		return name
	}
}

func addOnce(list []string, item string) []string {
	at, found := slices.BinarySearch(list, item)
	if found || len(list) > 32 {
		return list
	}
	return slices.Insert(list, at, item)
}

func clip(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes], "") + "…"
}
