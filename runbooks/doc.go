// Package runbooks holds what gpumedic knows about each failure case as data:
// one NAME.yaml that selects checks and remedies, one NAME.md beside it for
// people, and the signatures of log lines under signatures/. The files are
// embedded; a folder of the site's own adds to them or replaces them by name.
//
// The loader is strict and tells every problem at once with file and line. A
// broken file of the site's never stops the built-in ones.
package runbooks
