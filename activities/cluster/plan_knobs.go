package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gpumedic/incident"
	"gpumedic/incident/redact"
	"gpumedic/knobs"
)

// planKnobs plans to turn one declared knob: the first of the wanted roles that
// can be turned.
func (h *Hands) planKnobs(ctx context.Context, d *draft) error {
	found := declaredBy(d.live, d.pods)
	if found.text == "" {
		d.refuse("%s declares no knobs (annotation %s): what its program is told is its owner's, so this is advice", d.workload.Target, incident.KnobAnnotation)
		return nil
	}
	list, err := knobs.Parse(found.text)
	if err != nil {
		d.refuse("the annotation %s of %s is wrong: %v", incident.KnobAnnotation, found.where, err)
		return nil
	}
	roles := d.params.Roles
	if len(roles) == 0 {
		roles = []string{incident.KnobMicroBatch, incident.KnobPrecision}
	}
	var whyNot []string
	for _, role := range roles {
		e, turned, err := d.turn(list, role)
		if err == nil {
			return h.planTemplate(ctx, d, e, fmt.Sprintf("Turn %s", strings.Join(turned, ", ")))
		}
		whyNot = append(whyNot, err.Error())
	}
	d.refuse("%s", strings.Join(whyNot, "; "))
	return nil
}

// turn turns a role in every container that has it.
func (d *draft) turn(list []incident.Knob, role string) (e edit, turned []string, err error) {
	direction := knobs.Less
	if role == incident.KnobWorkers || role == incident.KnobPrefetch {
		direction = knobs.More
	}
	containers, err := d.knobContainers(list, role)
	if err != nil {
		return e, nil, err
	}
	for _, path := range containers {
		before := programOf(path, d.live.Object)
		after, did, err := knobs.Turn(list, before, role, direction)
		if err != nil {
			return e, nil, err
		}
		for _, one := range did {
			if !slices.Contains(turned, one.String()) {
				turned = append(turned, one.String())
			}
		}
		if err := tell(&e, path, before, after); err != nil {
			return e, nil, err
		}
	}
	return e, turned, nil
}

// knobContainers are the containers that a role's knob means.
func (d *draft) knobContainers(list []incident.Knob, role string) ([]fieldPath, error) {
	knob, found := knobs.Find(list, role)
	if !found {
		return nil, fmt.Errorf("no knob %s is declared", role)
	}
	var containers []fieldPath
	if knob.Container == "" {
		containers = d.gpuContainers()
	} else {
		walkContainers(d.live.Object, func(path fieldPath, container map[string]any) {
			if container["name"] == knob.Container {
				containers = append(containers, path)
			}
		})
	}
	if len(containers) == 0 {
		return nil, fmt.Errorf("the knob %s means the container %s, and %s has none", role, orWord(knob.Container, "with the GPUs"), d.workload.Target)
	}
	return containers, nil
}

// programOf is what a container tells its program.
func programOf(path fieldPath, object map[string]any) knobs.Container {
	fields := path.fieldsAt(object)
	out := knobs.Container{Name: path[len(path)-1].key, Command: texts(fields["command"]), Args: texts(fields["args"])}
	list, _ := fields["env"].([]any)
	for _, entry := range list {
		variable, _ := entry.(map[string]any)
		name, _ := variable["name"].(string)
		value, _ := variable["value"].(string)
		out.Env = append(out.Env, knobs.Variable{Name: name, Value: value, From: variable["valueFrom"] != nil})
	}
	return out
}

func texts(value any) []string {
	list, _ := value.([]any)
	var out []string
	for _, entry := range list {
		text, _ := entry.(string)
		out = append(out, text)
	}
	return out
}

// tell adds what differs between two programs to an edit. Arguments are one
// value to Kubernetes, and so all of them stand in the plan: not where one looks
// like a secret.
func tell(e *edit, path fieldPath, before, after knobs.Container) error {
	for i, variable := range after.Env {
		if variable != before.Env[i] {
			e.set(path.below(key("env"), element("name", variable.Name), key("value")), variable.Value)
		}
	}
	for _, list := range []struct {
		name          string
		before, after []string
	}{{"command", before.Command, after.Command}, {"args", before.Args, after.Args}} {
		if slices.Equal(list.before, list.after) {
			continue
		}
		if secretive(list.before) {
			return fmt.Errorf("the %s of container %s hold something that looks like a secret, and would stand in the plan: move it to a Secret", list.name, before.Name)
		}
		values := make([]any, len(list.after))
		for i, text := range list.after {
			values[i] = text
		}
		e.set(path.below(key(list.name)), values)
	}
	return nil
}

func secretive(args []string) bool {
	data, err := json.Marshal(args)
	line := strings.Join(args, " ")
	return err != nil || string(redact.JSON(data)) != string(data) || redact.String(line) != line
}
