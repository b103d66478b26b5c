package crds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Source is a file of a published module.
type Source struct {
	// Kind of the resource, for people.
	Kind string
	// Module at Version, whose hash, as in a go.sum, is Sum.
	Module, Version, Sum string
	// File within the module.
	File string
}

// Published are the kinds that the lab can have.
var Published = []Source{
	{"JobSet", "sigs.k8s.io/jobset", "v0.10.1", "h1:u8QKifNsrWVrlRFe6w2ofYTqFT9ma2DRHxfeB2m9xyU=", "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"},
	{"PyTorchJob", "github.com/kubeflow/training-operator", "v1.8.1", "h1:mVvoBSCInbMBX0gGSn4+Ihj3ycwoLO1iEAw+0qPhQfc=", "manifests/base/crds/kubeflow.org_pytorchjobs.yaml"},
	{"MPIJob", "github.com/kubeflow/mpi-operator", "v0.6.0", "h1:RzzG03oyQIiHe/SH2k19N+Hp4QkxEsG2l9G1T7US+ys=", "manifests/base/kubeflow.org_mpijobs.yaml"},
	{"TrainJob", "github.com/kubeflow/trainer/v2", "v2.0.0", "h1:mnQSR9iPKItxyUR8mq66XsmxqKNVHwr9YYOB7BTU9dU=", "manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml"},
	{"RayJob", "github.com/ray-project/kuberay/ray-operator", "v1.5.0", "h1:KCjCQ7PSsvs9Ke+90CZbbs498nuaIJ/JkXk4vd54EVg=", "config/crd/bases/ray.io_rayjobs.yaml"},
}

// Manifests are the definitions of all published kinds as a YAML stream, without
// descriptions: those are most of the text and validate nothing.
func Manifests(ctx context.Context) ([]byte, error) {
	var stream []byte
	for _, source := range Published {
		definition, err := source.Definition(ctx)
		if err != nil {
			return nil, err
		}
		data, err := yaml.Marshal(definition)
		if err != nil {
			return nil, fmt.Errorf("writing the definition of %s: %w", source.Kind, err)
		}
		stream = append(append(stream, "---\n"...), data...)
	}
	return stream, nil
}

// Definition is the CustomResourceDefinition, without descriptions.
func (s Source) Definition(ctx context.Context) (map[string]any, error) {
	dir, err := s.fetch(ctx)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.File)))
	if err != nil {
		return nil, fmt.Errorf("reading the definition of %s: %w", s.Kind, err)
	}
	var definition map[string]any
	if err := yaml.Unmarshal(data, &definition); err != nil {
		return nil, fmt.Errorf("reading the definition of %s in %s@%s: %w", s.Kind, s.Module, s.Version, err)
	}
	bare(definition)
	return definition, nil
}

// fetch has the module in the cache, downloading it when it is not there, and
// returns its folder.
func (s Source) fetch(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", s.Module+"@"+s.Version)
	command.Dir = os.TempDir() // outside every module: nothing is resolved against one
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	answer, err := command.Output()
	var module struct{ Dir, Sum, Error string }
	if problem := json.Unmarshal(answer, &module); problem != nil {
		return "", fmt.Errorf("downloading %s@%s for the definition of %s: %w", s.Module, s.Version, s.Kind, errors.Join(err, problem))
	}
	switch {
	case module.Error != "":
		return "", fmt.Errorf("downloading %s@%s for the definition of %s: %s", s.Module, s.Version, s.Kind, module.Error)
	case module.Sum != s.Sum:
		return "", fmt.Errorf("downloading %s@%s for the definition of %s: its hash is %s, pinned is %s", s.Module, s.Version, s.Kind, module.Sum, s.Sum)
	}
	return module.Dir, nil
}

// bare takes the descriptions of schemas away; a property of that name stays.
func bare(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, text := node["description"].(string); text {
			delete(node, "description")
		}
		for _, value := range node {
			bare(value)
		}
	case []any:
		for _, value := range node {
			bare(value)
		}
	}
}
