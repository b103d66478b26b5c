package faults

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gpumedic/lab/kubelet"
)

// copies plays a program that copies one directory to another: its last two
// arguments. No byte is copied; what a real one would trip over is looked for in the
// container: that both directories are on volumes, that the one is not written to
// and the other can be.
func (m *Model) copies(ctx context.Context, p *process) kubelet.Exit {
	line := slices.Concat(p.spec.Command, p.spec.Args)
	if len(line) < 2 || !strings.Contains(strings.Join(line, " "), "cp -a") {
		p.say("sh: simulated: this is no program that copies")
		return kubelet.Exit{Code: 127}
	}
	from, to := line[len(line)-2], line[len(line)-1]
	p.say("gpumedic: copying %s to %s (simulated)", from, to)
	if why := m.cannotCopy(p, from, to); why != "" {
		pause(ctx, m.pace.Line)
		p.say("%s", why)
		return kubelet.Exit{Code: 1}
	}
	if !pause(ctx, 10*m.pace.Line) {
		return kubelet.Exit{Code: terminated}
	}
	p.say("gpumedic: 184320 files there, 184320 files here")
	return kubelet.Exit{}
}

// cannotCopy is what cp would say; "" when it would go well.
func (m *Model) cannotCopy(p *process, from, to string) string {
	source, target := p.volumeAt(from), p.volumeAt(to)
	switch {
	case source == nil:
		return "sh: 5: cd: can't cd to " + from
	case target == nil || p.readOnlyAt(to):
		return "mkdir: cannot create directory '" + to + "': Read-only file system"
	case !p.readOnlyAt(from):
		return "simulated: the source is not mounted read-only"
	}
	if claim := source.PersistentVolumeClaim; claim != nil && slices.Contains(m.currentScript().UnreadableClaims, claim.ClaimName) {
		return "cp: error reading './shard-00417.tar': Input/output error"
	}
	return ""
}

// readOnlyAt says whether the container may not write under a path.
func (p *process) readOnlyAt(path string) bool {
	volume := p.volumeAt(path)
	if claim := volume.PersistentVolumeClaim; claim != nil && claim.ReadOnly {
		return true
	}
	return slices.ContainsFunc(p.spec.VolumeMounts, func(mount corev1.VolumeMount) bool { return mount.Name == volume.Name && mount.ReadOnly })
}
