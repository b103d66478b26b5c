package report

import (
	"bytes"
	"cmp"
	_ "embed" // the picture's template
	"fmt"
	"html/template"
	"strings"

	"gpumedic/incident"
)

// The picture of a communication test: nodes side by side, in the order of
// their leaf switches, and one band for each round. What became of a group is
// told by shape as well as by colour. Nothing in it needs a script.

//go:embed rounds.svg
var roundsSource string

var roundsTemplate = template.Must(template.New("rounds").Parse(roundsSource))

// Sizes in the picture's own units.
const (
	roundsWidth = 960
	roundsLeft  = 104 // of the bands' names
	roundsRoom  = roundsWidth - roundsLeft - 8
	leafSeam    = 4 // between two leafs that stand in one line
	widestCell  = 70
	smallest    = 5 // a cell where the nodes go over several lines
	namedFrom   = 46
	numberFrom  = 14
)

// roundsPicture is a test laid out.
type roundsPicture struct {
	Width, Height int
	Title, Says   string
	Leaves, Names []label
	Seams         string
	Bands         []roundBand
	Verdict       verdictBand

	field field
}

// label is a word at a place.
type label struct {
	X, Y int
	Text string
}

// roundBand is one round.
type roundBand struct {
	Label, Sub   string
	LabelY, SubY int
	Rest         string // where no node was tested
	Groups       []groupDrawn
}

// groupDrawn is one group of a round. Class is pass, slow, fail, error or
// running, and so is its shape: full, half, crossed, an outline, a line.
type groupDrawn struct {
	Title, Class string
	Cells, Cross string
	Numbers      []label
}

// verdictBand is the end: marks on bad nodes, boxes around bad leafs.
type verdictBand struct {
	LabelY       int
	Rest         string
	Marks        []mark
	Boxes        string
	Text         string
	TextX, TextY int
}

type mark struct {
	X, Y, R, TextY int
	Text           string
}

// RoundsPicture draws a test, also one that still runs, as SVG that stands by
// itself. nodes tell the leafs; those that no test had are left out. It is ""
// before the first round. An error is a defect of ours.
func RoundsPicture(test incident.CommTest, nodes []incident.Node) (template.HTML, error) {
	test, nodes = shown(test), shown(nodes)
	f := newField(test, nodes)
	if len(f.names) == 0 {
		return "", nil
	}
	p := &roundsPicture{Width: roundsWidth, field: f, Says: roundsSay(test, len(f.names))}
	p.Title = fmt.Sprintf("Communication test %s: %d nodes, %d rounds", purposeWords(test), len(f.names), len(test.History))
	y := p.head()
	for _, round := range test.History {
		y = p.band(round, y)
	}
	p.Height = p.verdict(test, y)
	var out bytes.Buffer
	if err := roundsTemplate.Execute(&out, p); err != nil {
		return "", incident.Faultf(incident.Internal, err, "drawing the rounds of a communication test")
	}
	return template.HTML(out.String()), nil //nolint:gosec // made by html/template
}

// head names leafs and nodes where there is room, and returns where the first
// band begins.
func (p *roundsPicture) head() int {
	f := &p.field
	if f.lines > 1 {
		return 8
	}
	for _, r := range f.runs(func(int) bool { return true }) {
		left, wide, _ := f.box(r, 0)
		if fits := wide / 7; fits >= 4 {
			p.Leaves = append(p.Leaves, label{left + wide/2, 14, clipped(cmp.Or(f.leaf[r.from], leafUnknown), fits)})
		}
	}
	if f.cell < namedFrom {
		return 24
	}
	for i, name := range f.names {
		p.Names = append(p.Names, label{f.x[i] + f.cell/2, 30, clipped(name, f.cell/7)})
	}
	return 40
}

// band draws a round below y and returns its lower edge.
func (p *roundsPicture) band(round incident.Round, y int) int {
	f := &p.field
	band := roundBand{Label: fmt.Sprintf("round %d", round.Number), LabelY: y + 9, SubY: y + 20, Sub: plural(len(round.Groups), "group")}
	tested := map[int]bool{}
	for number, group := range round.Groups {
		members := map[int]bool{}
		for _, name := range group.Nodes {
			members[f.at[name]], tested[f.at[name]] = true, true
		}
		band.Groups = append(band.Groups, p.group(number, group, outcomeOf(round, group), members, y))
	}
	band.Rest = f.rest(y, tested)
	p.Bands = append(p.Bands, band)
	return y + max(f.height(), 22) + 6
}

// group draws what became of a group.
func (p *roundsPicture) group(number int, group incident.Group, o incident.Outcome, members map[int]bool, y int) groupDrawn {
	f := &p.field
	drawn := groupDrawn{Class: classOf(o), Title: fmt.Sprintf("group %s, %s (%s): %s", group.ID, plural(len(group.Nodes), "node"), few(group.Nodes, 8), groupWords(o))}
	var cells, cross strings.Builder
	for _, r := range f.runs(func(i int) bool { return members[i] }) {
		left, wide, top := f.box(r, y)
		switch drawn.Class {
		case "running":
			fmt.Fprintf(&cells, "M%d %dh%d", left, top+f.bar/2, wide)
		case "slow":
			fmt.Fprintf(&cells, "M%d %dh%dv%dh-%dz", left, top+f.bar/2, wide, f.bar-f.bar/2, wide)
		default:
			fmt.Fprintf(&cells, "M%d %dh%dv%dh-%dz", left, top, wide, f.bar, wide)
		}
		if drawn.Class == "fail" {
			for i := r.from; i <= r.to; i++ {
				fmt.Fprintf(&cross, "M%d %dl%d %d", f.x[i], top+f.bar, f.cell-1, -f.bar)
			}
		}
		if wide >= numberFrom && f.lines == 1 {
			drawn.Numbers = append(drawn.Numbers, label{left + wide/2, top + f.bar/2 + 4, fmt.Sprint(number + 1)})
		}
	}
	drawn.Cells, drawn.Cross = cells.String(), cross.String()
	return drawn
}

// verdict draws the end below y and returns the picture's height.
func (p *roundsPicture) verdict(test incident.CommTest, y int) int {
	f, v := &p.field, &p.Verdict
	v.LabelY, v.Rest = y+14, f.rest(y, nil)
	b := blame{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, part := range test.Verdict.Bad {
		b.add(part.Kind, part.ID)
	}
	for i, name := range f.names {
		if b.node(name) {
			r := min(8, max(3, f.cell/2))
			at := y + f.line[i]*f.pitch + f.bar/2
			v.Marks = append(v.Marks, mark{f.x[i] + f.cell/2, at, r, at + 4, name})
		}
	}
	var boxes strings.Builder
	for _, r := range f.runs(func(i int) bool { return b.leaf(f.leaf[i]) }) {
		left, wide, top := f.box(r, y)
		fmt.Fprintf(&boxes, "M%d %dh%dv%dh-%dz", left, top, wide, f.bar, wide)
	}
	v.Boxes = boxes.String()
	v.TextX, v.TextY, v.Text = roundsLeft, y+max(f.height(), 22)+14, clipped(endWords(test), 130)
	p.Seams = f.seams(y + f.height())
	return v.TextY + 8
}
