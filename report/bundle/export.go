package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"gpumedic/incident"
)

// maxNamed bounds how many files an error names one by one.
const maxNamed = 5

// Export writes a bundle's files and its manifest into a folder, which is
// made when it is missing. Every file's hash is verified; one that is missing
// or damaged is left out, the others are written all the same, and the error
// then names what is not there. Files that have the same names are replaced,
// others in the folder stay.
func (s *Store) Export(ctx context.Context, manifest incident.EvidenceRef, dir string) error {
	data, err := s.Read(ctx, manifest)
	if err != nil {
		return err
	}
	list, err := ParseManifest(data)
	if err != nil {
		return incident.Faultf(incident.Invalid, err, "decoding the manifest %s", manifest.SHA256)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return classify(err, "making the folder %s", dir)
	}
	root, err := os.OpenRoot(dir) // no name, link or race leads out of it
	if err != nil {
		return classify(err, "opening the folder %s", dir)
	}
	defer root.Close()
	manifest.Name = ManifestName
	return s.exportAll(ctx, root, append(list.Files, manifest))
}

// exportAll writes what it can and joins what it cannot.
func (s *Store) exportAll(ctx context.Context, root *os.Root, files []incident.EvidenceRef) error {
	var errs []error
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return classify(err, "exporting %d files to %s", len(files), root.Name())
		}
		if err := s.exportOne(ctx, root, file); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return incident.Faultf(incident.KindOf(errs[0]), someOf(errs), "exporting to %s: %d of %d files are not there", root.Name(), len(errs), len(files))
}

func someOf(errs []error) error {
	if extra := len(errs) - maxNamed; extra > 0 {
		errs = append(errs[:maxNamed:maxNamed], fmt.Errorf("and %d more", extra))
	}
	return errors.Join(errs...)
}

// exportOne writes one file beside its place and moves it there when it is
// whole and its hash is right.
func (s *Store) exportOne(ctx context.Context, root *os.Root, file incident.EvidenceRef) error {
	content, err := s.Open(ctx, file)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := root.MkdirAll(path.Dir(file.Name), 0o755); err != nil {
		return classify(err, "making the folder of %s", file.Name)
	}
	part := file.Name + ".part"
	if err := write(root, part, content); err != nil {
		_ = root.Remove(part) // what is half is not evidence; the write's error is the news
		return classify(err, "writing %s", file.Name)
	}
	if err := root.Rename(part, file.Name); err != nil {
		return classify(err, "writing %s", file.Name)
	}
	return nil
}

func write(root *os.Root, name string, content io.Reader) error {
	out, err := root.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
