package cluster

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gpumedic/incident"
)

// setting is one environment variable of one rank, as its pod declares it.
// What the image or a start script sets is not seen here.
type setting struct {
	value string
	// unknown says why the value could not be read; "" when it was.
	unknown string
	// own marks a value that differs between ranks by right: it is taken from
	// the pod itself.
	own bool
}

// environment is the variables of one rank.
type environment struct {
	rank incident.Rank
	vars map[string]setting
	// unread names sources that could define any variable and were not read.
	unread []string
}

// get returns a variable, with unknown set when an unread source could have
// defined it.
func (e environment) get(name string) (setting, bool) {
	if found, ok := e.vars[name]; ok {
		return found, true
	}
	if len(e.unread) > 0 {
		return setting{unknown: e.unread[0]}, true
	}
	return setting{}, false
}

// envReader resolves pods' environments. It reads each ConfigMap once, and
// never a Secret.
type envReader struct {
	hands     *Hands
	namespace string
	maps      map[string]configMap
}

type configMap struct {
	data    map[string]string
	unknown string
}

func (h *Hands) newEnvReader(namespace string) *envReader {
	return &envReader{hands: h, namespace: namespace, maps: map[string]configMap{}}
}

// read resolves the environment of a rank's main container, in the order in
// which the kubelet does: sources first, then single variables over them.
func (r *envReader) read(ctx context.Context, rank incident.Rank, pod corev1.Pod) environment {
	env := environment{rank: rank, vars: map[string]setting{}}
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		if container.Name != rank.Container {
			continue
		}
		for _, source := range container.EnvFrom {
			r.source(ctx, &env, source)
		}
		for _, variable := range container.Env {
			env.vars[variable.Name] = r.variable(ctx, env, variable)
		}
	}
	return env
}

func (r *envReader) source(ctx context.Context, env *environment, source corev1.EnvFromSource) {
	if source.SecretRef != nil {
		env.unread = append(env.unread, fmt.Sprintf("it may come from secret %s, which is never read", source.SecretRef.Name))
		return
	}
	if source.ConfigMapRef == nil {
		return
	}
	from := r.configMap(ctx, source.ConfigMapRef.Name)
	if from.unknown != "" {
		env.unread = append(env.unread, from.unknown)
		return
	}
	for key, value := range from.data {
		env.vars[source.Prefix+key] = setting{value: value}
	}
}

func (r *envReader) variable(ctx context.Context, env environment, variable corev1.EnvVar) setting {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return expand(env, variable.Value)
	case from.SecretKeyRef != nil:
		return setting{unknown: fmt.Sprintf("it comes from secret %s, which is never read", from.SecretKeyRef.Name)}
	case from.ConfigMapKeyRef != nil:
		source := r.configMap(ctx, from.ConfigMapKeyRef.Name)
		if value, ok := source.data[from.ConfigMapKeyRef.Key]; ok {
			return setting{value: value}
		}
		return setting{unknown: orWord(source.unknown, fmt.Sprintf("configmap %s has no key %s", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key))}
	case from.FieldRef != nil:
		return setting{value: from.FieldRef.FieldPath, own: true}
	}
	return setting{unknown: "it comes from a source that is not read", own: true}
}

// configMap reads a ConfigMap once. One that is not there defines nothing: the
// pod could not have started without it unless it is optional.
func (r *envReader) configMap(ctx context.Context, name string) configMap {
	if known, ok := r.maps[name]; ok {
		return known
	}
	var read configMap
	live, err := r.hands.Kube.CoreV1().ConfigMaps(r.namespace).Get(ctx, name, metav1.GetOptions{})
	switch err := classify(err, "reading configmap %s/%s", r.namespace, name); {
	case err == nil:
		read.data = live.Data
	case incident.KindOf(err) != incident.Missing:
		read.unknown = err.Error()
	}
	r.maps[name] = read
	return read
}

// expand replaces $(NAME) as the kubelet does; a name that is not defined
// stays as it is written, and $$ is a dollar sign.
func expand(env environment, text string) setting {
	var out strings.Builder
	result := setting{}
	for text != "" {
		at := strings.IndexByte(text, '$')
		if at < 0 || at+1 == len(text) {
			out.WriteString(text)
			break
		}
		out.WriteString(text[:at])
		text = text[at:]
		end := strings.IndexByte(text, ')')
		switch {
		case text[1] == '$':
			out.WriteByte('$')
			text = text[2:]
		case text[1] == '(' && end > 0:
			if known, ok := env.vars[text[2:end]]; ok {
				out.WriteString(known.value)
				result.unknown, result.own = orWord(result.unknown, known.unknown), result.own || known.own
			} else {
				out.WriteString(text[:end+1])
			}
			text = text[end+1:]
		default:
			out.WriteByte('$')
			text = text[1:]
		}
	}
	result.value = out.String()
	return result
}
