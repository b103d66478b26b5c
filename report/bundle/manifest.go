package bundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"gpumedic/incident"
)

// ManifestName is the manifest's own place in a bundle.
const ManifestName = "manifest.json"

// Manifest lists a bundle's files with their hashes. It is kept as evidence
// itself, so its own hash vouches for the whole bundle.
type Manifest struct {
	IncidentID string    `json:"incident_id"`
	OpenedAt   time.Time `json:"opened_at"`
	ClosedAt   time.Time `json:"closed_at,omitzero"`
	// Outcome is how the incident ended.
	Outcome string                 `json:"outcome"`
	Build   string                 `json:"build"`
	Files   []incident.EvidenceRef `json:"files"`
	// Gaps says what could not be listed and why; then Files is not complete.
	Gaps []string `json:"gaps,omitempty"`
}

// Encode gives the manifest's JSON with its files in the order of their names.
// The same file twice is listed once; when one name stands for several contents,
// the later ones are numbered: "workload.json", "workload-2.json". Files that were
// never kept (the zero reference) are left out.
func (m Manifest) Encode() ([]byte, error) {
	m.Files = distinct(m.Files)
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, incident.Faultf(incident.Internal, err, "encoding the manifest of %s", m.IncidentID)
	}
	return append(data, '\n'), nil
}

// distinct gives every content of every name a place of its own.
func distinct(files []incident.EvidenceRef) []incident.EvidenceRef {
	known := map[[2]string]bool{}
	taken := map[string]bool{ManifestName: true}
	kept := []incident.EvidenceRef{}
	for _, file := range files {
		same := [2]string{file.Name, file.SHA256}
		if file.SHA256 == "" || known[same] {
			continue
		}
		known[same] = true
		file.Name = free(file.Name, taken)
		taken[strings.ToLower(file.Name)] = true
		kept = append(kept, file)
	}
	slices.SortFunc(kept, func(a, b incident.EvidenceRef) int { return cmp.Compare(a.Name, b.Name) })
	return kept
}

// free numbers a name until nobody has it, also where case does not count.
func free(name string, taken map[string]bool) string {
	extension := path.Ext(name)
	candidate := name
	for number := 2; taken[strings.ToLower(candidate)]; number++ {
		candidate = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, extension), number, extension)
	}
	return candidate
}

// ParseManifest reads a manifest back. Every name in it is checked to stay
// inside the folder that it is exported to, and to stand there once.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	taken := map[string]bool{ManifestName: true}
	for i, file := range m.Files {
		folded := strings.ToLower(file.Name)
		if err := checkName(file.Name); err != nil {
			return m, fmt.Errorf("file %d: %w", i+1, err)
		}
		if taken[folded] {
			return m, fmt.Errorf("file %d: a second file named %s", i+1, file.Name)
		}
		if !isHash(file.SHA256) {
			return m, fmt.Errorf("file %d: %.80q is not a SHA-256 in lower-case hex", i+1, file.SHA256)
		}
		taken[folded] = true
	}
	return m, nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// Folder is where an incident's own files lie for people who look into the
// bucket by hand: one folder for each time that the target was ill.
func Folder(incidentID string, openedAt time.Time) string {
	name := strings.TrimLeft(notInNames.ReplaceAllString(incidentID, "_"), ".")
	return "incidents/" + cmp.Or(name, "unnamed") + "/" + openedAt.UTC().Format("20060102T150405Z")
}
