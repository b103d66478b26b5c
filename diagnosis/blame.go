package diagnosis

import (
	"strconv"
	"strings"

	"gpumedic/incident"
)

// accused lists, for each kind of thing that can be at fault, the captures that
// name it, the most telling first, with the kind of what they name.
var accused = map[string][]struct{ capture, kind string }{
	"rank":   {{"rank", "rank"}},
	"pod":    {{"pod", "pod"}, {"peer", "pod"}, {"node", "node"}, {"host", "node"}},
	"link":   {{"hca", "link"}, {"link", "link"}, {"peer", "link"}},
	"node":   {{"node", "node"}, {"uuid", "gpu"}, {"pci", "gpu"}, {"gpu", "gpu"}, {"link", "link"}, {"host", "node"}},
	"config": {{"interface", "config"}, {"model", "config"}, {"volume", "config"}, {"taint", "config"}, {"quota", "config"}},
}

// blamedByText says whom a line accuses when nothing but text is known.
func blamedByText(f facts, cause string, o incident.Observation) incident.Blamed {
	label, _ := LabelOf(cause)
	lone := f.Texts == 1 && f.Ranks <= 1 && o.Ranks == "0" // nobody says whose text it is
	if label.Blames == "rank" && !lone && o.Role == RoleOrigin && cause == o.Causes[0] && o.Captures["rank"] == "" {
		return incident.Blamed{Kind: "rank", Names: []string{strconv.Itoa(o.FirstRank)}}
	}
	for _, a := range accused[label.Blames] {
		// NCCL writes a peer as "host<port>".
		if name, _, _ := strings.Cut(o.Captures[a.capture], "<"); name != "" {
			return incident.Blamed{Kind: a.kind, Names: []string{name}}
		}
	}
	return incident.Blamed{Kind: label.Blames}
}
