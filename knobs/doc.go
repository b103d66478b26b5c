// Package knobs reads what an owner lets gpumedic turn (the annotation
// incident.KnobAnnotation), finds the values in a container and turns them. It
// is pure: it knows containers as text and no cluster.
package knobs
