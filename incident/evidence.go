package incident

import (
	"context"
	"io"
)

// EvidenceRef points to something that was seen, kept outside the history
// under its SHA-256. Equal content is stored once.
type EvidenceRef struct {
	// Name is the path inside the bundle, "logs/rank-003.log".
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	// Cut says that the head and tail were kept and the middle dropped.
	Cut bool `json:"cut,omitempty"`
}

// EvidenceStore keeps evidence by content. Put may be repeated with the same
// content. Callers redact before they put.
type EvidenceStore interface {
	Put(ctx context.Context, name string, content io.Reader) (EvidenceRef, error)
	// Open reads content back and fails when it does not match its hash.
	Open(ctx context.Context, ref EvidenceRef) (io.ReadCloser, error)
}

// IndexEntry is one file of an incident's evidence index: a JSON list of
// these, itself kept as evidence ("index.json").
type IndexEntry struct {
	EvidenceRef
	// Kind is log, events, object or workload.
	Kind string `json:"kind"`
	// Rank is the completion index a log belongs to, -1 for other kinds.
	Rank      int    `json:"rank"`
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	// Previous marks the log of the container before its last restart.
	Previous bool `json:"previous,omitempty"`
}
