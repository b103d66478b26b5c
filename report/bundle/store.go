package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob" // file://
	_ "gocloud.dev/blob/memblob"  // mem://
	_ "gocloud.dev/blob/s3blob"   // s3://

	"gpumedic/incident"
)

// maxRead bounds what Read takes into memory, in bytes; reports and manifests
// are far smaller.
const maxRead = 256 << 20

// Store keeps evidence in a bucket. It may be used from several goroutines,
// and by several processes on one bucket.
type Store struct {
	bucket *blob.Bucket
	// place names the bucket in messages, without secrets.
	place string
}

var _ incident.EvidenceStore = (*Store)(nil)

// Open opens the bucket at a URL: file:///folder (made when it is missing),
// s3://bucket?region=..., or mem:// which forgets everything on Close. It asks
// a remote bucket nothing yet; the first Put or Open finds out whether it can
// be reached. The caller closes the store.
func Open(ctx context.Context, location string) (*Store, error) {
	at, err := url.Parse(location)
	if err != nil { // the error repeats the URL, which may carry a password
		return nil, &incident.Fault{Kind: incident.Invalid, Doing: "reading the evidence store's URL", Next: urlHint, Err: errors.New("it is not a URL")}
	}
	place := (&url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path}).String()
	if err := checkLocation(at); err != nil {
		return nil, &incident.Fault{Kind: incident.Invalid, Doing: "opening the evidence store " + place, Next: urlHint, Err: err}
	}
	bucket, err := blob.DefaultURLMux().OpenBucketURL(ctx, at)
	if err != nil {
		return nil, opening(place, err)
	}
	return &Store{bucket: bucket, place: place}, nil
}

// checkLocation refuses what no driver serves and completes a folder's URL.
func checkLocation(at *url.URL) error {
	switch at.Scheme {
	case "s3", "mem":
		return nil
	case "file":
	default:
		return fmt.Errorf("no evidence can be kept at %q", at.Scheme+"://")
	}
	if at.Host != "" && at.Host != "." && at.Host != "localhost" {
		return fmt.Errorf("%s is read as a host: a folder's URL has three slashes", at.Host)
	}
	if at.Path == "" || at.Path == "/" {
		return errors.New("it names no folder")
	}
	careful(at)
	return nil
}

// careful completes a folder's URL: it is made when missing, only its owner
// may read it, and temporary files are on the same disk, so that a file
// appears whole or not at all. What the URL says itself stays.
func careful(at *url.URL) {
	query := at.Query()
	for key, value := range map[string]string{"create_dir": "1", "no_tmp_dir": "1", "metadata": "skip", "dir_file_mode": "0700"} {
		if !query.Has(key) {
			query.Set(key, value)
		}
	}
	at.RawQuery = query.Encode()
}

// Close lets go of the bucket.
func (s *Store) Close() error {
	if err := s.bucket.Close(); err != nil {
		return classify(err, "closing the evidence store %s", s.place)
	}
	return nil
}

// Open reads content back. The reader gives an error instead of io.EOF when
// what it read does not have the hash of ref, so content may be trusted only
// when it was read to its end. A reference without a hash is Invalid.
func (s *Store) Open(ctx context.Context, ref incident.EvidenceRef) (io.ReadCloser, error) {
	if !isHash(ref.SHA256) {
		return nil, incident.Faultf(incident.Invalid, nil, "opening evidence %q: %.80q is not a SHA-256 in lower-case hex", ref.Name, ref.SHA256)
	}
	reader, err := s.bucket.NewReader(ctx, key(ref.SHA256), nil)
	if err != nil {
		return nil, classify(err, "opening evidence %s (sha256 %s) in %s", ref.Name, ref.SHA256, s.place)
	}
	return &verified{ReadCloser: reader, ref: ref, hash: sha256.New()}, nil
}

// Read returns verified content whole. It is for reports and other content
// that is known to be small: more than 256 MiB is an error.
func (s *Store) Read(ctx context.Context, ref incident.EvidenceRef) ([]byte, error) {
	content, err := s.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, maxRead+1))
	if err != nil {
		return nil, err // the verifying reader says what it was reading
	}
	if len(data) > maxRead {
		return nil, incident.Faultf(incident.Invalid, nil, "reading evidence %s: more than %d bytes", ref.Name, maxRead)
	}
	return data, nil
}

// key is where content lies in the bucket. Two digits make a folder, so that
// no folder grows very long.
func key(hash string) string { return "sha256/" + hash[:2] + "/" + hash[2:] }

// isHash says whether text is a SHA-256 as Put writes it.
func isHash(text string) bool {
	if len(text) != 2*sha256.Size {
		return false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
