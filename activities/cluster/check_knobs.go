package cluster

import (
	"fmt"
	"strings"

	"gpumedic/incident"
	"gpumedic/knobs"
)

// declaration is a text that declares knobs, and the object that carries it.
type declaration struct {
	text, where string
	evidence    []string
}

// declared looks at the target and then at its pods, which have the annotations
// of the pod template. The zero value: nobody declares anything.
func (s scene) declared() declaration {
	if text := s.found.top.GetAnnotations()[incident.KnobAnnotation]; text != "" {
		return declaration{text, s.now.Target.String(), []string{objectFile(s.found.top.GetKind(), s.found.top.GetName())}}
	}
	for _, pod := range s.pods {
		if text := pod.Annotations[incident.KnobAnnotation]; text != "" {
			return declaration{text, fmt.Sprintf("the pod template of %s", s.now.Target), s.saw(pod)}
		}
	}
	return declaration{}
}

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
