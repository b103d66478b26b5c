package scenarios

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// object is one document of a manifest.
type object struct {
	schema.GroupVersionKind
	namespace, name string
	data            []byte // JSON
}

// same says that both stand for one object of the cluster.
func (o object) same(other object) bool {
	return o.GroupVersionKind == other.GroupVersionKind && o.namespace == other.namespace && o.name == other.name
}

// merge puts a folder's manifests over those of the healthy job of a size. Namespaces
// come first and what runs pods comes last, so that the ranks find
// everything in place.
func merge(folder string, s size) ([]byte, error) {
	objects, err := load("base")
	if err != nil {
		return nil, err
	}
	if err := s.scale(objects); err != nil {
		return nil, err
	}
	if folder == "" {
		return join(objects)
	}
	extra, err := load(folder)
	if err != nil {
		return nil, err
	}
	for _, over := range extra {
		i := slices.IndexFunc(objects, over.same)
		if i < 0 {
			objects = append(objects, over)
			continue
		}
		if objects[i].data, err = patch(objects[i], over); err != nil {
			return nil, fmt.Errorf("%s %s of %s: %w", over.Kind, over.name, folder, err)
		}
	}
	return join(objects)
}

func patch(base, over object) ([]byte, error) {
	typed, err := scheme.Scheme.New(base.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	return strategicpatch.StrategicMergePatch(base.data, over.data, typed)
}

// load reads the documents of a folder, its files by name.
func load(folder string) ([]object, error) {
	names, err := fs.Glob(files, path.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var objects []object
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found, err := documents(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, found...)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("no manifests in %s", folder)
	}
	return objects, nil
}

func documents(data []byte) ([]object, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var objects []object
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(objects)+1, err)
		}
		o, err := identify(text)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(objects)+1, err)
		}
		objects = append(objects, o)
	}
}

func identify(text []byte) (object, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return object{}, err
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct{ Namespace, Name string }
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return object{}, err
	}
	if head.Kind == "" || head.APIVersion == "" || head.Metadata.Name == "" {
		return object{}, errors.New("want apiVersion, kind and metadata.name")
	}
	gvk := schema.FromAPIVersionAndKind(head.APIVersion, head.Kind)
	return object{GroupVersionKind: gvk, namespace: head.Metadata.Namespace, name: head.Metadata.Name, data: data}, nil
}

// join writes the objects as YAML in the order in which to apply them.
func join(objects []object) ([]byte, error) {
	slices.SortStableFunc(objects, func(a, b object) int { return place(a) - place(b) })
	var out bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			out.WriteString("---\n")
		}
		text, err := yaml.JSONToYAML(o.data)
		if err != nil {
			return nil, fmt.Errorf("write %s %s as YAML: %w", o.Kind, o.name, err)
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

func place(o object) int {
	switch o.Kind {
	case "Namespace":
		return 0
	case "Job":
		return 2
	}
	return 1
}
