// Package config is gpumedic's one configuration: a struct, its defaults in
// one function, and a strict loader that reports every problem at once with
// its line. sample.yaml explains every key; a test keeps it in step.
package config
