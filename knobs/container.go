package knobs

import (
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
)

// Variable is one environment variable of a container.
type Variable struct {
	Name, Value string
	// From says that the value is taken from elsewhere (a ConfigMap, a field),
	// so that it cannot be read or turned here.
	From bool
}

// Container is what a program is told: its environment, command and arguments.
type Container struct {
	Name          string
	Command, Args []string
	Env           []Variable
}

// clone is a copy that shares nothing.
func (c Container) clone() Container {
	c.Command, c.Args, c.Env = slices.Clone(c.Command), slices.Clone(c.Args), slices.Clone(c.Env)
	return c
}

// Read returns the values of knobs in their container, by role. A value that is
// not set, set twice or taken from elsewhere is an error that says so: nobody
// turns what he cannot read.
func Read(list []incident.Knob, container Container) (map[string]string, error) {
	values := map[string]string{}
	for _, knob := range list {
		if knob.Container != "" && knob.Container != container.Name {
			continue
		}
		value, err := container.value(knob)
		if err != nil {
			return nil, err
		}
		values[knob.Role] = value
	}
	return values, nil
}

func (c *Container) value(knob incident.Knob) (string, error) {
	place, err := c.place(knob)
	if err != nil {
		return "", err
	}
	return place.read(), nil
}

// place is where a value stands: text is the string that holds it, behind
// prefix.
type place struct {
	text   *string
	prefix string
}

func (p place) read() string       { return strings.TrimPrefix(*p.text, p.prefix) }
func (p place) write(value string) { *p.text = p.prefix + value }

func (c *Container) place(knob incident.Knob) (place, error) {
	if knob.Env != "" {
		return c.variable(knob)
	}
	found := append(placesOf(c.Command, knob.Arg), placesOf(c.Args, knob.Arg)...)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return place{}, fmt.Errorf("the knob %s is the argument %s, and container %s has none with a value", knob.Role, knob.Arg, c.Name)
	default:
		return place{}, fmt.Errorf("the knob %s is the argument %s, and container %s has it %d times", knob.Role, knob.Arg, c.Name, len(found))
	}
}

// placesOf finds "--x=8" and "--x", "8". A flag before another flag has no
// value. What a shell script in one argument says is not read.
func placesOf(args []string, name string) []place {
	var found []place
	for i := range args {
		if strings.HasPrefix(args[i], name+"=") {
			found = append(found, place{&args[i], name + "="})
		}
		if args[i] == name && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			found = append(found, place{text: &args[i+1]})
		}
	}
	return found
}

func (c *Container) variable(knob incident.Knob) (place, error) {
	at := -1
	for i, variable := range c.Env {
		if variable.Name != knob.Env {
			continue
		}
		if at >= 0 {
			return place{}, fmt.Errorf("the knob %s is the variable %s, and container %s has it twice", knob.Role, knob.Env, c.Name)
		}
		at = i
	}
	switch {
	case at < 0:
		return place{}, fmt.Errorf("the knob %s is the variable %s, and container %s does not set it", knob.Role, knob.Env, c.Name)
	case c.Env[at].From || strings.Contains(c.Env[at].Value, "$("):
		return place{}, fmt.Errorf("the knob %s is the variable %s, and container %s takes it from elsewhere", knob.Role, knob.Env, c.Name)
	}
	return place{text: &c.Env[at].Value}, nil
}
