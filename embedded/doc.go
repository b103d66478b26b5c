// Package embedded runs Temporal's server and Web UI inside the process, on
// loopback, with a SQLite file or in memory. It is for one machine, for the
// lab and for tests: Temporal calls its SQLite store "testing and
// development", so a production site connects to its own Temporal cluster.
//
// Only mains and end-to-end tests import it. Build tag slim leaves the server
// out (Start then says so), which makes the worker's image a third as large.
package embedded
