package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"gocloud.dev/gcerrors"

	"gpumedic/incident"
)

const urlHint = "write a URL such as file:///var/lib/gpumedic/evidence or s3://bucket?region=eu-central-1"

// opening is the fault of a store that could not be opened. The driver's
// message repeats the URL, whose query may carry secrets: only its cause is told.
func opening(place string, err error) error {
	kind, next := kindOf(err)
	if kind == incident.Unreachable { // nothing was asked yet, so it is the URL
		kind, next = incident.Invalid, urlHint
	}
	return &incident.Fault{Kind: kind, Doing: "opening the evidence store " + place, Next: next, Err: errors.Unwrap(err)}
}

// classify turns an error of a bucket or of a file into a Fault. The format
// says what was being done to what. A Fault keeps its kind.
func classify(err error, format string, args ...any) error {
	kind, next := kindOf(err)
	return &incident.Fault{Kind: kind, Doing: fmt.Sprintf(format, args...), Next: next, Err: err}
}

// kindOf sorts an error and says what a person can do about it. What is not
// known is taken for a bucket that cannot be reached: worth another try.
func kindOf(err error) (incident.Kind, string) {
	var known *incident.Fault
	switch {
	case errors.As(err, &known):
		return known.Kind, ""
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return incident.TimedOut, ""
	case errors.Is(err, syscall.ENOSPC):
		return incident.Unreachable, "free some disk space; it is tried again"
	case errors.Is(err, fs.ErrPermission):
		return incident.Forbidden, "give this user the right to read and write there"
	}
	return kindOfCode(gcerrors.Code(err))
}

// kindOfCode sorts what a bucket's driver answered.
func kindOfCode(code gcerrors.ErrorCode) (incident.Kind, string) {
	switch code {
	case gcerrors.NotFound:
		return incident.Missing, ""
	case gcerrors.PermissionDenied:
		return incident.Forbidden, "give these credentials the right to list, read and write objects of the bucket"
	case gcerrors.InvalidArgument:
		return incident.Invalid, ""
	case gcerrors.Unimplemented:
		return incident.Unsupported, ""
	case gcerrors.DeadlineExceeded, gcerrors.Canceled:
		return incident.TimedOut, ""
	}
	return incident.Unreachable, ""
}
