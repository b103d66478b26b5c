package diagnosis

import (
	"bytes"
	"encoding/json"
	"time"
)

// jsonKeys are what loggers call the message: docker's json-file, journald and
// structured loggers.
var jsonKeys = [][]byte{[]byte(`"log":`), []byte(`"MESSAGE":`)}

// fromJSON reads a line that a logger wrapped as a JSON object: what docker's
// json-file and journald wrap is taken out; of any other object the escapes are
// undone, since its other fields may matter as much.
func fromJSON(line []byte) (text []byte, at time.Time, ok bool) {
	if len(line) < 2 || line[0] != '{' {
		return nil, time.Time{}, false
	}
	for _, key := range jsonKeys {
		if !bytes.Contains(line[:min(len(line), maxLine)], key) {
			continue
		}
		var wrapped struct {
			Log     string    `json:"log"`
			Message string    `json:"MESSAGE"`
			Time    time.Time `json:"time"`
		}
		if json.Unmarshal(line, &wrapped) == nil && wrapped.Log+wrapped.Message != "" {
			return plain([]byte(wrapped.Log + wrapped.Message)), wrapped.Time, true
		}
	}
	if bytes.IndexByte(line, '\\') < 0 {
		return nil, time.Time{}, false
	}
	return plain(unescaped(line)), time.Time{}, true
}

// plain takes terminal sequences out, which JSON had hidden from the block.
func plain(text []byte) []byte {
	if bytes.IndexByte(text, escape) < 0 {
		return text
	}
	out := text[:0:0]
	for i := 0; i < len(text); {
		if text[i] != escape {
			out = append(out, text[i])
			i++
			continue
		}
		length, _ := sequence(text[i:])
		i += length
	}
	return out
}

// unescaped undoes the escapes of JSON strings without asking for valid JSON: a
// log may cut it anywhere.
func unescaped(line []byte) []byte {
	out := make([]byte, 0, len(line))
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 == len(line) {
			out = append(out, line[i])
			continue
		}
		i++
		switch line[i] {
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			if bytes.HasPrefix(line[i:], []byte("u001b")) {
				out = append(out, escape)
				i += 4
				continue
			}
			out = append(out, '\\', 'u')
		default:
			out = append(out, line[i])
		}
	}
	return out
}
