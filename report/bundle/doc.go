// Package bundle keeps evidence by its content and hands it out again as
// files. Content lies in a bucket (a folder, S3, or memory for tests) under
// the SHA-256 of its bytes, so that equal content is kept once and altered
// content is noticed by whoever reads it. A bundle is the list of an
// incident's files, the manifest, which is itself kept as evidence.
//
// Nothing here redacts: callers redact before they put.
package bundle
