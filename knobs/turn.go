package knobs

import (
	"fmt"
	"slices"
	"strconv"

	"gpumedic/incident"
)

// Direction of a turn.
type Direction int

// Less asks less of the machine (a smaller batch, the next choice), More asks
// more (loader workers, prefetch).
const (
	Less Direction = iota
	More
)

// Turned is one value that was turned, for people.
type Turned struct {
	Role, From, To string
}

// String writes "micro-batch 8 -> 4".
func (t Turned) String() string { return fmt.Sprintf("%s %s -> %s", t.Role, t.From, t.To) }

// Turn turns a role one notch: an int to half, or to double, a choice to its
// neighbour. Where a relation is declared the other knob is turned the other
// way, so that the product stays as it is. The container is not altered; the
// answer is a new one. The error says why the knob cannot be turned.
func Turn(list []incident.Knob, container Container, role string, direction Direction) (Container, []Turned, error) {
	knob, found := Find(list, role)
	if !found {
		return Container{}, nil, fmt.Errorf("no knob %s is declared", role)
	}
	if knob.Container != "" && knob.Container != container.Name {
		return Container{}, nil, fmt.Errorf("the knob %s is of container %s, not of %s", role, knob.Container, container.Name)
	}
	out := container.clone()
	at, err := out.place(knob)
	if err != nil {
		return Container{}, nil, err
	}
	if knob.Type == "choice" {
		turned, err := turnChoice(knob, at, direction)
		return out, turned, err
	}
	turned, err := turnNumber(list, &out, knob, at, direction)
	return out, turned, err
}

func turnChoice(knob incident.Knob, at place, direction Direction) ([]Turned, error) {
	from := at.read()
	i := slices.Index(knob.Choices, from)
	if i < 0 {
		return nil, fmt.Errorf("the knob %s is %q, which is none of its choices %v", knob.Role, from, knob.Choices)
	}
	next := i + 1
	if direction == More {
		next = i - 1
	}
	if next < 0 || next >= len(knob.Choices) {
		return nil, fmt.Errorf("the knob %s is %s already, the last of its choices %v", knob.Role, from, knob.Choices)
	}
	at.write(knob.Choices[next])
	return []Turned{{knob.Role, from, knob.Choices[next]}}, nil
}

func turnNumber(list []incident.Knob, out *Container, knob incident.Knob, at place, direction Direction) ([]Turned, error) {
	from, err := numberAt(knob, at)
	if err != nil {
		return nil, err
	}
	other, related := partner(list, knob)
	if !related {
		to, err := alone(knob, from, direction)
		if err != nil {
			return nil, err
		}
		at.write(strconv.Itoa(to))
		return []Turned{{knob.Role, strconv.Itoa(from), strconv.Itoa(to)}}, nil
	}
	there, err := out.place(other)
	if err != nil {
		return nil, err
	}
	held, err := numberAt(other, there)
	if err != nil {
		return nil, err
	}
	to, heldTo, err := together(knob, other, from, held, direction)
	if err != nil {
		return nil, err
	}
	at.write(strconv.Itoa(to))
	there.write(strconv.Itoa(heldTo))
	return []Turned{{knob.Role, strconv.Itoa(from), strconv.Itoa(to)}, {other.Role, strconv.Itoa(held), strconv.Itoa(heldTo)}}, nil
}

func numberAt(knob incident.Knob, at place) (int, error) {
	value, err := strconv.Atoi(at.read())
	if err != nil {
		return 0, fmt.Errorf("the knob %s is %q, which is no whole number", knob.Role, at.read())
	}
	return value, nil
}

// partner is the knob whose product with this one stays as it is, whichever of
// the two declares it.
func partner(list []incident.Knob, knob incident.Knob) (incident.Knob, bool) {
	if knob.Constant != "" {
		return Find(list, knob.Constant)
	}
	at := slices.IndexFunc(list, func(other incident.Knob) bool { return other.Constant == knob.Role })
	if at < 0 {
		return incident.Knob{}, false
	}
	return list[at], true
}

// alone halves or doubles a number that stands alone, to the nearest value on
// its grid; from none at all the first step is one.
func alone(knob incident.Knob, from int, direction Direction) (int, error) {
	step := max(1, knob.Step)
	to := max(from*2, from+step)
	if direction == Less {
		to = from / 2
	}
	to = min(max(to, knob.Min), knob.Max)
	to = knob.Min + (to-knob.Min)/step*step
	if direction == More && to <= from || direction == Less && to >= from {
		return 0, fmt.Errorf("the knob %s is %d already, and may go from %d to %d in steps of %d", knob.Role, from, knob.Min, knob.Max, step)
	}
	return to, nil
}

// together divides the one number by the smallest factor that divides it and
// multiplies the other by it, both within bounds and on their grids.
func together(knob, other incident.Knob, from, held int, direction Direction) (to, heldTo int, err error) {
	down, up, downFrom, upFrom := knob, other, from, held
	if direction == More {
		down, up, downFrom, upFrom = other, knob, held, from
	}
	for factor := 2; factor <= downFrom; factor++ {
		less, more := downFrom/factor, upFrom*factor
		if downFrom%factor != 0 || !onGrid(down, less) || !onGrid(up, more) {
			continue
		}
		if direction == More {
			return more, less, nil
		}
		return less, more, nil
	}
	return 0, 0, fmt.Errorf("%s %d cannot be divided so that %s x %s stays %d within %s of %s and %s of %s",
		down.Role, downFrom, knob.Role, other.Role, from*held, bounds(down), down.Role, bounds(up), up.Role)
}

func onGrid(knob incident.Knob, value int) bool {
	return value >= knob.Min && value <= knob.Max && value > 0 && (value-knob.Min)%max(1, knob.Step) == 0
}

func bounds(knob incident.Knob) string {
	return fmt.Sprintf("%d..%d by %d", knob.Min, knob.Max, max(1, knob.Step))
}
