package bundle

import (
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"gpumedic/incident"
)

// verified hashes what is read through it and compares at the end.
type verified struct {
	io.ReadCloser
	ref  incident.EvidenceRef
	hash hash.Hash
	// damage is set once the end was reached with another hash.
	damage error
}

// Read is io.Reader; its error at the end is a Fault when the hash differs,
// and stays so however often it is asked.
func (v *verified) Read(p []byte) (int, error) {
	if v.damage != nil {
		return 0, v.damage
	}
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n]) // a hash never returns an error
	switch {
	case errors.Is(err, io.EOF):
		return n, v.atEnd()
	case err != nil:
		return n, classify(err, "reading evidence %s", v.ref.Name)
	}
	return n, nil
}

func (v *verified) atEnd() error {
	found := hex.EncodeToString(v.hash.Sum(nil))
	if found == v.ref.SHA256 {
		return io.EOF
	}
	v.damage = &incident.Fault{Kind: incident.Invalid, Doing: "reading evidence " + v.ref.Name,
		Err:  errors.New("its sha256 is " + found + ", it was kept as " + v.ref.SHA256),
		Next: "the store's content was altered or damaged; do not rely on this file"}
	return v.damage
}
