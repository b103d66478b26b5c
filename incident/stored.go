package incident

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
)

// MaxReadBack bounds what is read back whole from evidence, in bytes: far more
// than the workload or the index of any number of ranks needs.
const MaxReadBack = 64 << 20

// KeepJSON stores encoded JSON under a name; the caller has redacted it.
func KeepJSON(ctx context.Context, store EvidenceStore, name string, data []byte) (EvidenceRef, error) {
	ref, err := store.Put(ctx, name, bytes.NewReader(append(data, '\n')))
	if err != nil {
		return EvidenceRef{}, StoreFault(err, "storing %s", name)
	}
	return ref, nil
}

// ReadJSON reads a value back from the store, at most limit bytes of it. The
// error is Invalid for one that is larger, or no JSON of its kind.
func ReadJSON(ctx context.Context, store EvidenceStore, ref EvidenceRef, limit int64, into any) error {
	content, err := store.Open(ctx, ref)
	if err != nil {
		return StoreFault(err, "opening evidence %s", ref.Name)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, limit+1))
	switch {
	case err != nil:
		return StoreFault(err, "reading evidence %s", ref.Name)
	case int64(len(data)) > limit:
		return Faultf(Invalid, nil, "reading evidence %s: more than %d bytes", ref.Name, limit)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return Faultf(Invalid, err, "decoding evidence %s", ref.Name)
	}
	return nil
}

// StoreFault names what was being done with the evidence store. A store's own
// Fault keeps its kind; an error without one is taken for a store that cannot be
// reached, which is worth another try.
func StoreFault(err error, format string, args ...any) error {
	kind := Unreachable
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		kind = fault.Kind
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		kind = TimedOut
	}
	return Faultf(kind, err, format, args...)
}
