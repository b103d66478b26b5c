package runbooks

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"gpumedic/diagnosis"
)

//go:embed *.yaml signatures/*.yaml
var builtin embed.FS

// builtIn is builtin as what folders of people are read by.
var builtIn fs.FS = builtin

const signatureFolder = "signatures"

// Load returns the built-in runbooks and, with a dir, those of its *.yaml files;
// one of the same name replaces the built-in one. Runbooks of dir come first,
// then by name, which is the order in which alerts try them. The error is of
// type Problems and lists everything wrong; the runbooks returned with it are
// good and usable, a built-in one in place of a broken one of the same name.
func Load(dir string) ([]Runbook, error) {
	books, problems := loadFrom(builtin, "built-in/")
	if dir == "" {
		return books, problems.orNil()
	}
	own, wrong := loadFrom(os.DirFS(dir), strings.TrimSuffix(dir, "/")+"/")
	problems = append(problems, wrong...)
	for _, book := range books {
		if !slices.ContainsFunc(own, func(b Runbook) bool { return b.Name == book.Name }) {
			own = append(own, book)
		}
	}
	return own, problems.orNil()
}

func loadFrom(files fs.FS, prefix string) ([]Runbook, Problems) {
	var books []Runbook
	problems := eachYAML(files, ".", prefix, func(file, name string, data []byte) Problems {
		book, wrong := decode(file, name, data)
		if len(wrong) == 0 {
			books = append(books, book)
		}
		return wrong
	})
	return books, problems
}

// Signatures returns the built-in signatures in the order of files and entries.
func Signatures() ([]diagnosis.Signature, error) { return LoadSignatures("") }

// LoadSignatures returns the built-in signatures and those of dir/signatures,
// where one of the same id replaces the built-in one. As with Load, what is
// returned beside an error is good.
func LoadSignatures(dir string) ([]diagnosis.Signature, error) {
	signatures, problems := signaturesFrom(builtin, "built-in/")
	if dir == "" {
		return signatures, problems.orNil()
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return signatures, append(problems, Problem{File: dir, Text: "there is no such folder of runbooks"}).orNil()
	}
	own, wrong := signaturesFrom(os.DirFS(dir), strings.TrimSuffix(dir, "/")+"/")
	problems = append(problems, wrong...)
	for _, s := range own {
		if i := slices.IndexFunc(signatures, func(b diagnosis.Signature) bool { return b.ID == s.ID }); i >= 0 {
			signatures[i] = s
			continue
		}
		signatures = append(signatures, s)
	}
	return signatures, problems.orNil()
}

func signaturesFrom(files fs.FS, prefix string) ([]diagnosis.Signature, Problems) {
	var signatures []diagnosis.Signature
	defined := map[string]string{}
	if _, err := fs.Stat(files, signatureFolder); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a site need not bring signatures
	}
	problems := eachYAML(files, signatureFolder, prefix, func(file, _ string, data []byte) Problems {
		good, wrong := decodeSignatures(file, data, files == builtIn)
		for _, s := range good {
			if first, twice := defined[s.ID]; twice {
				wrong = append(wrong, Problem{file, 0, fmt.Sprintf("signature %s is defined in %s already", s.ID, first)})
				continue
			}
			defined[s.ID] = file
			signatures = append(signatures, s)
		}
		return wrong
	})
	return signatures, problems
}

// Classifier compiles the signatures that LoadSignatures(dir) returns. Beside
// an error there is a classifier all the same when the built-in ones are good.
func Classifier(dir string) (*diagnosis.Classifier, error) {
	signatures, problems := LoadSignatures(dir)
	classifier, err := diagnosis.Assemble(signatures)
	return classifier, errors.Join(problems, err)
}

// eachYAML reads the *.yaml files of a folder in the order of their names.
func eachYAML(files fs.FS, folder, prefix string, fn func(file, name string, data []byte) Problems) Problems {
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return Problems{{File: prefix + folder, Text: "reading the folder: " + plain(err)}}
	}
	var problems Problems
	for _, entry := range entries {
		base := entry.Name()
		if entry.IsDir() || (path.Ext(base) != ".yaml" && path.Ext(base) != ".yml") {
			continue
		}
		place := path.Join(folder, base)
		data, err := fs.ReadFile(files, place)
		if err != nil {
			problems = append(problems, Problem{File: prefix + place, Text: "reading: " + plain(err)})
			continue
		}
		problems = append(problems, fn(prefix+place, strings.TrimSuffix(base, path.Ext(base)), data)...)
	}
	return problems
}

// plain takes the path off an error, since the problem names it already.
func plain(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}
