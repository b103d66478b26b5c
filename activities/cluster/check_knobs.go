package cluster

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gpumedic/incident"
	"gpumedic/knobs"
)

// declaration is a text that declares knobs, and the object that carries it.
type declaration struct {
	text, where string
	evidence    []string
}

// declaredBy looks at an object, at the pods of its ranks, which have the annotations
// of the pod template, and at the template, which may be newer than they are.
// The zero value: nobody declares anything.
func declaredBy(top *unstructured.Unstructured, pods []corev1.Pod) declaration {
	if text := top.GetAnnotations()[incident.KnobAnnotation]; text != "" {
		return declaration{text, nameOfObject(top), []string{objectFile(top.GetKind(), top.GetName())}}
	}
	for _, pod := range slices.Concat(pods, templatePods(top.Object)) {
		if text := pod.Annotations[incident.KnobAnnotation]; text != "" {
			saw := objectFile("Pod", pod.Name)
			if pod.Name == "" {
				saw = objectFile(top.GetKind(), top.GetName())
			}
			return declaration{text, "the pod template of " + nameOfObject(top), []string{saw}}
		}
	}
	return declaration{}
}

// nameOfObject writes "job training/llama".
func nameOfObject(object *unstructured.Unstructured) string {
	return strings.ToLower(object.GetKind()) + " " + object.GetNamespace() + "/" + object.GetName()
}

// declared is what the target of the scene declares.
func (s scene) declared() declaration { return declaredBy(s.found.top, s.pods) }

// knobs are the declared ones, none where the declaration is broken.
func (s scene) knobs() []incident.Knob {
	declared, _ := knobs.Parse(s.declared().text) // knobsDeclared says what is wrong
	return declared
}

// knobsDeclared names the roles that the owner lets be turned.
func (s scene) knobsDeclared() incident.Finding {
	finding := s.finding(incident.KnobsDeclared)
	found := s.declared()
	if found.text == "" {
		finding.State = incident.No
		finding.Why = fmt.Sprintf("%s carries no annotation %s, so that what its program is told may only be advised on", s.now.Target, incident.KnobAnnotation)
		return finding
	}
	finding.Evidence = found.evidence
	declared, err := knobs.Parse(found.text)
	if err != nil {
		finding.Why = fmt.Sprintf("the annotation %s of %s cannot be read: %s", incident.KnobAnnotation, found.where, strings.ReplaceAll(err.Error(), "\n", "; "))
		return finding
	}
	var roles []string
	for _, knob := range declared {
		roles = append(roles, knob.Role)
	}
	finding.State, finding.Value = incident.Yes, strings.Join(roles, ", ")
	finding.Why = fmt.Sprintf("%s declares that %s may be turned", found.where, finding.Value)
	return finding
}

// turned reads where a knob of a role stands, false when it is another role's or
// another container's, or stands nowhere. It is found as it would be to be turned,
// but with the variables filled in: a value from a ConfigMap can be read, and not
// turned.
func turned(knob incident.Knob, role string, container *corev1.Container, env environment) (setting, bool) {
	if knob.Role != role || container == nil || knob.Container != "" && knob.Container != container.Name {
		return setting{}, false
	}
	program := knobs.Container{Name: container.Name, Command: expanded(container.Command, env), Args: expanded(container.Args, env)}
	for name, value := range env.vars {
		program.Env = append(program.Env, knobs.Variable{Name: name, Value: value.value, From: value.unknown != ""})
	}
	values, err := knobs.Read([]incident.Knob{knob}, program)
	if known, set := env.vars[knob.Env]; err != nil && knob.Env != "" && set {
		return setting{unknown: orWord(known.unknown, err.Error())}, true
	}
	return setting{value: values[role]}, err == nil
}
