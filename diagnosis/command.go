package diagnosis

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gpumedic/incident"
)

// What `gpumedic diagnose` does; the command itself only opens files.

// maxRecord bounds one line of JSONL input, in bytes.
const maxRecord = 64 << 20

// byteOrderMark is what some editors put before a text.
var byteOrderMark = []byte("\xef\xbb\xbf")

// record is one line of JSONL input.
type record struct {
	ID   string  `json:"id"`
	Kind string  `json:"kind"`
	Text *string `json:"text"`
}

// RunJSONL reads one object {"id","kind","text"} a line and writes one verdict a
// line, in order, as soon as it is known. Unknown fields are passed over, blank
// lines too. It stops at the first line it cannot understand; the error, of
// kind invalid, names the line.
func (c *Classifier) RunJSONL(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxRecord)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	number := 0
	for lines.Scan() {
		number++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		verdict, err := c.judgeRecord(ctx, lines.Bytes())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return badInput(err, number)
		}
		if err := encoder.Encode(verdict); err != nil {
			return fmt.Errorf("writing the verdict of line %d: %w", number, err)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return badInput(fmt.Errorf("longer than %d MiB", maxRecord>>20), number+1)
	}
	if lines.Err() != nil {
		return fmt.Errorf("reading line %d of the input: %w", number+1, lines.Err())
	}
	return nil
}

func badInput(err error, line int) error {
	fault := incident.Faultf(incident.Invalid, err, "input line %d", line)
	fault.Next = `each line must be an object {"id":"...","kind":"log","text":"..."}`
	return fault
}

func (c *Classifier) judgeRecord(ctx context.Context, line []byte) (Verdict, error) {
	var r record
	err := json.Unmarshal(bytes.TrimPrefix(line, byteOrderMark), &r)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return Verdict{}, fmt.Errorf("holds a value of type %s, not an object", wrong.Value)
	case errors.As(err, &wrong):
		return Verdict{}, fmt.Errorf("%s is of type %s, not a string", wrong.Field, wrong.Value)
	case err != nil:
		return Verdict{}, err
	}
	switch {
	case r.ID == "":
		return Verdict{}, errors.New("id is missing")
	case r.Kind == "":
		return Verdict{}, errors.New("kind is missing")
	case r.Text == nil:
		return Verdict{}, errors.New("text is missing")
	}
	verdict, err := c.DiagnoseText(ctx, r.Kind, Log{Content: strings.NewReader(*r.Text)})
	verdict.ID = r.ID
	return verdict, err
}

// RunFiles diagnoses logs together, as those of the ranks of one job, and writes
// one verdict: for people, or as one JSON object.
func (c *Classifier) RunFiles(ctx context.Context, logs []Log, human bool, out io.Writer) (Verdict, error) {
	verdict, err := c.DiagnoseText(ctx, KindLog, logs...)
	if err != nil {
		return Verdict{}, err
	}
	if human {
		_, err = io.WriteString(out, verdict.String())
		return verdict, err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return verdict, encoder.Encode(verdict)
}
