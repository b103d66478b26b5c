package kubelet

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// stampFormat is RFC 3339 with all nine digits, as kubelets write it.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// logRequest is what a client may ask of a container's log, as the kubelet's
// API names it.
type logRequest struct {
	follow, timestamps bool
	tail               int // -1 = all
	limit              int64
	since              time.Time
}

// serveLogs is GET /containerLogs/{namespace}/{pod}/{container}.
func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	file, err := k.logOf(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), r.URL.Query().Get("previous") == "true")
	switch {
	case errors.Is(err, errNoPod):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request, err := parseLogRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	stream(w, r, file, request)
}

func parseLogRequest(r *http.Request) (logRequest, error) {
	query := r.URL.Query()
	request := logRequest{follow: query.Get("follow") == "true", timestamps: query.Get("timestamps") == "true", tail: -1, limit: -1}
	var err error
	if text := query.Get("tailLines"); text != "" {
		if request.tail, err = strconv.Atoi(text); err != nil {
			return request, fmt.Errorf("tailLines: %w", err)
		}
	}
	if text := query.Get("limitBytes"); text != "" {
		if request.limit, err = strconv.ParseInt(text, 10, 64); err != nil {
			return request, fmt.Errorf("limitBytes: %w", err)
		}
	}
	if text := query.Get("sinceTime"); text != "" {
		if request.since, err = time.Parse(time.RFC3339, text); err != nil {
			return request, fmt.Errorf("sinceTime: %w", err)
		}
	}
	if text := query.Get("sinceSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil {
			return request, fmt.Errorf("sinceSeconds: %w", err)
		}
		request.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	return request, nil
}

// stream writes what was asked for and, when following, what comes.
func stream(w http.ResponseWriter, r *http.Request, file *logFile, request logRequest) {
	left := request.limit
	next := 0
	if lines, end, _, _ := file.from(0); request.tail >= 0 && len(lines) > request.tail {
		next = end - request.tail
	}
	for {
		lines, end, open, changed := file.from(next)
		for _, l := range lines {
			if l.at.Before(request.since) {
				continue
			}
			if !writeLine(w, l, request.timestamps, &left) {
				return
			}
		}
		next = end
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		if !request.follow || !open || !await(r.Context(), changed) {
			return
		}
	}
}

// writeLine writes a line within the byte limit; false ends the answer.
func writeLine(w http.ResponseWriter, l line, timestamps bool, left *int64) bool {
	text := append([]byte(nil), l.text...)
	if timestamps {
		text = append([]byte(l.at.Format(stampFormat)+" "), text...)
	}
	text = append(text, '\n')
	if *left >= 0 && int64(len(text)) > *left {
		text = text[:*left]
	}
	if *left >= 0 {
		*left -= int64(len(text))
	}
	_, err := w.Write(text)
	return err == nil && *left != 0
}
