// Package redact takes secrets out of everything that gpumedic stores or
// sends: log lines, objects, errors, messages. What it replaces becomes
// "[redacted:kind]", so that a reader sees that something was there.
//
// It is made for the text of GPU jobs: addresses, GPU UUIDs, NCCL's hashes and
// stack traces must come through byte for byte, or a diagnosis rests on text
// that nobody printed.
package redact
