package incident

import (
	"errors"
	"fmt"
)

// Kind classifies every error that crosses an activity's border. The set is
// closed; its values are Temporal error types and metric labels.
type Kind string

// The kinds. Whether a retry can help is told by Retryable.
const (
	Unreachable Kind = "unreachable" // no connection, or the other side is not ready
	TimedOut    Kind = "timed-out"   // asked, no answer within the bound
	Forbidden   Kind = "forbidden"   // our credentials do not allow it
	Missing     Kind = "missing"     // the object is gone or never was
	Conflict    Kind = "conflict"    // somebody else changed or owns it
	Invalid     Kind = "invalid"     // what we sent or read is malformed
	Unsupported Kind = "unsupported" // we know that we cannot do this
	Internal    Kind = "internal"    // a defect of ours
)

// Retryable says whether the same call may succeed later by itself.
func (k Kind) Retryable() bool { return k == Unreachable || k == TimedOut }

// Fault is an error with its kind and with what a person should do next.
type Fault struct {
	Kind Kind
	// Doing says what was being done to what: "listing pods of job training/llama".
	Doing string
	// Next says what to do about it; "" when nothing sensible can be said.
	Next string
	Err  error
}

// Error reads "listing pods of job training/llama: EOF (check that ...)".
func (f *Fault) Error() string {
	text := f.Doing
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	if f.Next != "" {
		text += " (" + f.Next + ")"
	}
	return text
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Faultf makes a Fault whose Doing is formatted.
func Faultf(kind Kind, err error, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Doing: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the kind of the first Fault in err's chain, Internal when
// there is none.
func KindOf(err error) Kind {
	var fault *Fault
	if errors.As(err, &fault) {
		return fault.Kind
	}
	return Internal
}
