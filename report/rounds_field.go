package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// field is where each node stands, in lines of cells. All bands have the same.
type field struct {
	names []string
	at    map[string]int
	leaf  []string
	x     []int
	line  []int
	lines int
	// cell is a node's width; bar and pitch are a line's height without and with
	// the space below it.
	cell, bar, pitch int
}

// newField places the tested nodes, by leaf and name.
func newField(test incident.CommTest, nodes []incident.Node) field {
	f := field{at: map[string]int{}}
	leafOf, tested := map[string]string{}, map[string]bool{}
	for _, node := range nodes {
		leafOf[node.Name] = node.Leaf
	}
	for _, round := range test.History {
		for _, group := range round.Groups {
			for _, name := range group.Nodes {
				tested[name] = true
			}
		}
	}
	f.names = sorted(tested)
	slices.SortStableFunc(f.names, func(a, b string) int {
		return cmp.Or(cmp.Compare(last(leafOf[a]), last(leafOf[b])), strings.Compare(natural(leafOf[a]), natural(leafOf[b])))
	})
	for i, name := range f.names {
		f.at[name] = i
		f.leaf = append(f.leaf, leafOf[name])
	}
	f.place()
	return f
}

// place gives every node a line and a column. Few nodes stand in one line, with
// a seam between leafs; many go over several lines.
func (f *field) place() {
	n, seams := len(f.names), 0
	for i := 1; i < n; i++ {
		if f.leaf[i] != f.leaf[i-1] {
			seams++
		}
	}
	seam := leafSeam
	f.cell, f.bar, f.pitch = min(widestCell, (roundsRoom-seam*seams)/max(1, n)), 20, 20
	if f.cell < smallest {
		f.cell, f.bar, f.pitch, seam = smallest, 6, 8, 0
	}
	x, line := roundsLeft, 0
	for i := range f.names {
		if i > 0 && f.leaf[i] != f.leaf[i-1] {
			x += seam
		}
		if x+f.cell > roundsLeft+roundsRoom {
			x, line = roundsLeft, line+1
		}
		f.x, f.line = append(f.x, x), append(f.line, line)
		x += f.cell
	}
	f.lines = line + 1
}

func (f *field) height() int { return f.lines * f.pitch }

// run is neighbours in one line.
type run struct{ from, to int }

// runs are the stretches of nodes that want takes, cut at lines and leafs.
func (f *field) runs(want func(i int) bool) []run {
	var out []run
	for i := range f.names {
		if !want(i) {
			continue
		}
		if end := len(out) - 1; end >= 0 && out[end].to == i-1 && f.line[i] == f.line[i-1] && f.leaf[i] == f.leaf[i-1] {
			out[end].to = i
			continue
		}
		out = append(out, run{i, i})
	}
	return out
}

// box is a run's place: left edge, width, and top in a band that begins at y.
func (f *field) box(r run, y int) (left, wide, top int) {
	return f.x[r.from], f.x[r.to] + f.cell - f.x[r.from] - 1, y + f.line[r.from]*f.pitch
}

// rest draws a thin line where nothing was tested.
func (f *field) rest(y int, tested map[int]bool) string {
	var d strings.Builder
	for _, r := range f.runs(func(i int) bool { return !tested[i] }) {
		left, wide, top := f.box(r, y)
		fmt.Fprintf(&d, "M%d %dh%d", left, top+f.bar/2, wide)
	}
	return d.String()
}

// seams are lines between leafs that stand in one line.
func (f *field) seams(bottom int) string {
	var d strings.Builder
	for i := 1; i < len(f.names) && f.lines == 1; i++ {
		if f.leaf[i] != f.leaf[i-1] {
			fmt.Fprintf(&d, "M%d 4V%d", f.x[i]-leafSeam/2-1, bottom)
		}
	}
	return d.String()
}
