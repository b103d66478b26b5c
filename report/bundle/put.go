package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"

	"gpumedic/incident"
)

// inMemory is how much of a content is held before it goes to a file, in
// bytes. Most objects and many logs stay under it.
const inMemory = 1 << 20

// Put keeps content under its hash. The name is checked and returned in the
// reference, nothing more: two names of equal content share it. Callers
// redact first. It may be repeated; what is there already is not written
// again unless its size is wrong.
func (s *Store) Put(ctx context.Context, name string, content io.Reader) (incident.EvidenceRef, error) {
	if err := checkName(name); err != nil {
		return incident.EvidenceRef{}, &incident.Fault{Kind: incident.Invalid, Doing: "storing evidence", Err: err}
	}
	spooled, err := spoolUp(ctx, content)
	if err != nil {
		return incident.EvidenceRef{}, classify(err, "reading what is to be stored as %s", name)
	}
	defer spooled.close()
	ref := incident.EvidenceRef{Name: name, SHA256: spooled.sum, Bytes: spooled.bytes}
	if s.has(ctx, ref) {
		return ref, nil
	}
	if err := s.write(ctx, key(ref.SHA256), typeOf(name), spooled.reader()); err != nil {
		return incident.EvidenceRef{}, classify(err, "storing evidence %s in %s", name, s.place)
	}
	return ref, nil
}

// Place writes a small file for people who look into the bucket by hand,
// under a name of its own. What was there is replaced.
func (s *Store) Place(ctx context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return &incident.Fault{Kind: incident.Invalid, Doing: "placing a file", Err: err}
	}
	if err := s.write(ctx, name, typeOf(name), bytes.NewReader(data)); err != nil {
		return classify(err, "placing %s in %s", name, s.place)
	}
	return nil
}

// has says that content of the right size is there. A doubt is a no: writing
// again does no harm.
func (s *Store) has(ctx context.Context, ref incident.EvidenceRef) bool {
	attributes, err := s.bucket.Attributes(ctx, key(ref.SHA256))
	return err == nil && attributes.Size == ref.Bytes
}

// write puts all or nothing under a key.
func (s *Store) write(ctx context.Context, key, contentType string, content io.Reader) error {
	ctx, abandon := context.WithCancel(ctx)
	defer abandon() // a writer whose context ended before Close leaves nothing behind
	writer, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return err
	}
	if _, err := io.Copy(writer, content); err != nil {
		abandon()
		_ = writer.Close() // says that it was abandoned, which is known
		return err
	}
	return writer.Close()
}

// typeOf keeps the store from guessing, which would read ahead.
func typeOf(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".html":
		return "text/html; charset=utf-8"
	default:
		return "text/plain; charset=utf-8"
	}
}

// checkName accepts relative slash-separated paths that stay where they are
// put, on every system.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > 512:
		return fmt.Errorf("a name has 1 to 512 bytes, %.40q has %d", name, len(name))
	case path.Clean(name) != name || !filepath.IsLocal(filepath.FromSlash(name)) || name == ".":
		return fmt.Errorf("%q is not a plain path inside the bundle", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune("\x7f\\<>:\"|?*", r) }):
		return fmt.Errorf("%q has characters that file names cannot have everywhere", name)
	}
	return nil
}

// spool is content on its way, with its hash: in memory while small, else in
// a temporary file.
type spool struct {
	head  []byte
	file  *os.File
	sum   string
	bytes int64
}

// spoolUp reads all of the content. Close the spool after use.
func spoolUp(ctx context.Context, content io.Reader) (*spool, error) {
	sum := sha256.New()
	counted := io.TeeReader(&cancellable{ctx, content}, sum)
	head, err := io.ReadAll(io.LimitReader(counted, inMemory))
	if err != nil {
		return nil, err
	}
	s := &spool{head: head, bytes: int64(len(head))}
	if len(head) == inMemory {
		if err := s.spill(counted); err != nil {
			s.close()
			return nil, err
		}
	}
	s.sum = hex.EncodeToString(sum.Sum(nil))
	return s, nil
}

// spill sends what does not fit into memory to a file.
func (s *spool) spill(rest io.Reader) error {
	file, err := os.CreateTemp("", "gpumedic-evidence-*")
	if err != nil {
		return err
	}
	s.file = file
	more, err := io.Copy(file, rest)
	s.bytes += more
	if err != nil {
		return err
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}

// reader gives the content once.
func (s *spool) reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.head)
	}
	return io.MultiReader(bytes.NewReader(s.head), s.file)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name()) // a leftover in the temporary folder is all that could go wrong
	}
}

// cancellable stops reading when the context ends.
type cancellable struct {
	ctx    context.Context
	source io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.source.Read(p)
}
