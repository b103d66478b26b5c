package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gpumedic/incident"
)

// Sizes of the picture in its own units; the page scales it to its width.
const (
	pictureWidth = 960
	labelWidth   = 112 // of a leaf's name at the left
	gap          = 6
	manyNodes    = 48 // with more, boxes are small and have no names
)

// picture is the ranks over nodes and leaf switches, laid out. Leaves are
// rows, nodes are boxes, ranks are squares in them.
type picture struct {
	Width, Height int
	Small         bool
	Leaves        []leafRow
	// Says is the picture in words, for those who cannot see it.
	Says string
	// Key lists the looks that occur, in order.
	Key []look
}

// leafRow is one leaf switch, or the nodes of which none is known.
type leafRow struct {
	Name, Title string
	Short       string // the name, as far as it fits
	Y, Height   int
	LabelY      int
	Blamed      bool
	Boxes       []nodeBox
}

// nodeBox is one machine. Class is its look: ok, notready, cordoned, unread or
// none for ranks without a node.
type nodeBox struct {
	X, Y, W, H    int
	Name, Title   string
	Class         string
	Short         string // the name, as far as it fits
	NameX, NameY  int
	MarkX, MarkY  int
	Blamed, Tried bool // Tried: named by a communication test
	Ranks         []rankBox
}

// rankBox is one rank. Class is its look: running, failed, waiting, done, other.
type rankBox struct {
	X, Y, Size, TextX, TextY int
	MarkX                    int
	Label, Title, Class      string
	Blamed                   bool
}

// look is an entry of the picture's key.
type look struct{ Class, Text string }

var looks = []look{
	{"running", "rank runs"}, {"waiting", "rank waits for a place"}, {"failed", "rank failed"}, {"done", "rank is done"},
	{"other", "state not known"}, {"blamed", "at fault"}, {"tried", "did not pass its test"},
	{"notready", "node not ready"}, {"cordoned", "node cordoned"}, {"unread", "node could not be read"},
}

// drawn lays out a workload, nil when it has no ranks.
func drawn(rec incident.Record, w incident.Workload) *picture {
	if len(w.Ranks) == 0 {
		return nil
	}
	b := newBlame(rec)
	rows := leaves(w, b)
	p := &picture{Width: pictureWidth, Small: len(w.Nodes) > manyNodes, Leaves: rows}
	p.place()
	p.Says = says(rec, w, rows)
	p.Key = keys(rows)
	return p
}

// leaves groups nodes by leaf switch, both in natural order.
func leaves(w incident.Workload, b blame) []leafRow {
	boxes := map[string]*nodeBox{}
	leafOf := map[string]string{}
	for _, node := range w.Nodes {
		boxes[node.Name] = boxOf(node, b)
		leafOf[node.Name] = cmp.Or(node.Leaf, leafUnknown)
	}
	for _, rank := range w.Ranks {
		if boxes[rank.Node] == nil {
			boxes[rank.Node] = strayBox(rank.Node, b)
			leafOf[rank.Node] = cmp.Or(map[bool]string{true: "no node yet"}[rank.Node == ""], leafUnknown)
		}
		boxes[rank.Node].Ranks = append(boxes[rank.Node].Ranks, rankOf(rank, b))
	}
	rows := map[string]*leafRow{}
	for _, name := range sorted(boxes) {
		leaf := leafOf[name]
		if rows[leaf] == nil {
			rows[leaf] = &leafRow{Name: leaf, Short: clipped(leaf, 14), Blamed: b.leaf(leaf)}
		}
		rows[leaf].Boxes = append(rows[leaf].Boxes, *boxes[name])
	}
	var out []leafRow
	for _, name := range sorted(rows) {
		row := rows[name]
		row.Title = fmt.Sprintf("%s: %d nodes, %d ranks", name, len(row.Boxes), row.ranks())
		out = append(out, *row)
	}
	return out
}

const leafUnknown = "leaf not known"

func (r leafRow) ranks() int {
	count := 0
	for _, box := range r.Boxes {
		count += len(box.Ranks)
	}
	return count
}

func boxOf(node incident.Node, b blame) *nodeBox {
	box := &nodeBox{Name: node.Name, Class: "ok", Blamed: b.machine(node), Tried: b.tried[node.Name]}
	state := "ready"
	switch {
	case node.Unread != "":
		box.Class, state = "unread", "could not be read: "+node.Unread
	case !node.Ready:
		box.Class, state = "notready", "not ready"
	case node.Unschedulable:
		box.Class, state = "cordoned", "cordoned"
	}
	box.Title = fmt.Sprintf("node %s, %s, rack %s, %d GPUs", node.Name, state, cmp.Or(node.Rack, "not known"), node.GPUs)
	return box
}

// strayBox holds ranks of a node that is not in the workload, or of none.
func strayBox(name string, b blame) *nodeBox {
	if name == "" {
		return &nodeBox{Name: "no node", Class: "none", Title: "ranks that have no node"}
	}
	return &nodeBox{Name: name, Class: "unread", Blamed: b.node(name), Tried: b.tried[name], Title: "node " + name + ", not described"}
}

func rankOf(rank incident.Rank, b blame) rankBox {
	box := rankBox{Label: "?", Class: "other", Blamed: b.rank(rank)}
	if rank.Index >= 0 {
		box.Label = strconv.Itoa(rank.Index)
	}
	if class, ok := map[string]string{"Running": "running", "Failed": "failed", "Pending": "waiting", "Succeeded": "done"}[rank.Phase]; ok {
		box.Class = class
	}
	box.Title = fmt.Sprintf("rank %s, pod %s, %s, %d restarts, %d GPUs", box.Label, rank.Pod, cmp.Or(rank.Phase, "state not known"), rank.Restarts, rank.GPUs)
	return box
}

// place gives everything its coordinates, rows from the top.
func (p *picture) place() {
	most := 1
	for _, row := range p.Leaves {
		for _, box := range row.Boxes {
			most = max(most, len(box.Ranks))
		}
	}
	g := grid{cell: 26, pad: 6, head: 20, gap: gap, columns: min(most, 4)}
	g.width = max(92, g.columns*g.cell+2*g.pad)
	if p.Small {
		g = grid{cell: 20, pad: 2, gap: 2, columns: min(most, 4)}
		g.width = g.columns*g.cell + 2*g.pad
	}
	y := gap
	for i := range p.Leaves {
		y = p.Leaves[i].place(y, g) + gap
	}
	p.Height = y
}

// grid is the measure of a picture: of a rank's cell, a node's padding and
// head line, the gap between nodes, and how many ranks stand side by side.
type grid struct{ cell, pad, head, gap, columns, width int }

// place lays out a leaf's boxes from left to right and returns its lower edge.
func (r *leafRow) place(y int, g grid) int {
	perLine := max(1, (pictureWidth-labelWidth-gap)/(g.width+g.gap))
	r.Y = y
	top := y + gap
	for from := 0; from < len(r.Boxes); from += perLine {
		line := r.Boxes[from:min(from+perLine, len(r.Boxes))]
		height := 0
		for i := range line {
			line[i].place(labelWidth+i*(g.width+g.gap), top, g)
			height = max(height, line[i].H)
		}
		top += height + g.gap
	}
	top += gap - g.gap
	r.Height = top - y
	r.LabelY = y + r.Height/2
	return top
}

func (b *nodeBox) place(x, y int, g grid) {
	lines := max(1, (len(b.Ranks)+g.columns-1)/g.columns)
	b.X, b.Y, b.W, b.H = x, y, g.width, g.head+lines*g.cell+2*g.pad
	b.NameX, b.NameY, b.MarkX, b.MarkY = x+g.pad, y+g.head-5, x+g.width-2, y+2
	b.Short = clipped(b.Name, (g.width-2*g.pad)/6)
	for i := range b.Ranks {
		rank := &b.Ranks[i]
		rank.Size = g.cell - 2
		rank.X, rank.Y = x+g.pad+(i%g.columns)*g.cell+1, y+g.head+g.pad+(i/g.columns)*g.cell+1
		rank.TextX, rank.TextY = rank.X+rank.Size/2, rank.Y+rank.Size/2
		rank.MarkX = rank.X + rank.Size
	}
}

// says tells the picture in one or two sentences.
func says(rec incident.Record, w incident.Workload, rows []leafRow) string {
	var marked []string
	for _, row := range rows {
		if row.Blamed {
			marked = append(marked, "leaf switch "+row.Name)
		}
		for _, box := range row.Boxes {
			if box.Blamed {
				marked = append(marked, "node "+box.Name)
			}
			for _, rank := range box.Ranks {
				if rank.Blamed {
					marked = append(marked, "rank "+rank.Label+" on "+box.Name)
				}
			}
		}
	}
	text := fmt.Sprintf("%d ranks on %d nodes behind %d leaf switches.", len(w.Ranks), len(w.Nodes), known(rows))
	if len(marked) > 0 {
		return text + " At fault: " + few(marked, 12) + "."
	}
	if who := blamedWords(rec.Blamed); who != "" {
		return text + " At fault is none of them but " + who + "."
	}
	return text + " None of them is found at fault."
}

func known(rows []leafRow) int {
	count := 0
	for _, row := range rows {
		if row.Name != leafUnknown && row.Name != "no node yet" {
			count++
		}
	}
	return count
}

// keys lists the looks that occur.
func keys(rows []leafRow) []look {
	seen := map[string]bool{}
	for _, row := range rows {
		seen["blamed"] = seen["blamed"] || row.Blamed
		for _, box := range row.Boxes {
			seen[box.Class] = true
			seen["blamed"] = seen["blamed"] || box.Blamed
			seen["tried"] = seen["tried"] || box.Tried
			for _, rank := range box.Ranks {
				seen[rank.Class] = true
				seen["blamed"] = seen["blamed"] || rank.Blamed
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(looks), func(l look) bool { return !seen[l.Class] })
}

// sorted gives a map's keys in natural order: gpu-2 before gpu-10, and what
// has no name last.
func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), strings.Compare(natural(a), natural(b)), strings.Compare(a, b))
	})
	return names
}

func last(name string) int {
	if name == "" || name == leafUnknown || name == "no node yet" {
		return 1
	}
	return 0
}

var digits = regexp.MustCompile(`[0-9]+`)

// natural pads numbers so that they sort by value.
func natural(name string) string {
	return digits.ReplaceAllStringFunc(name, func(n string) string {
		return strings.Repeat("0", max(0, 12-len(n))) + n
	})
}
