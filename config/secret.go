package config

import (
	"fmt"
	"os"
	"strings"
)

// Secret refers to a secret in a file or in the environment; configuration
// files never hold one. The zero value is "none".
type Secret struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

// Set says whether the secret is referred to at all.
func (s Secret) Set() bool { return s.File != "" || s.Env != "" }

// Read fetches the secret. An empty file or variable is an error: it is
// always a mistake, and an empty token would match an empty header.
func (s Secret) Read() (string, error) {
	switch {
	case s.File != "":
		data, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("reading a secret from its file: %w", err)
		}
		return s.nonEmpty(string(data), "file "+s.File)
	case s.Env != "":
		return s.nonEmpty(os.Getenv(s.Env), "environment variable "+s.Env)
	}
	return "", nil
}

func (Secret) nonEmpty(value, place string) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return "", fmt.Errorf("reading a secret: %s is empty", place)
	}
	return value, nil
}
