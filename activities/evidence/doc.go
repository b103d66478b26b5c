// Package evidence is the hand that carries out write-report: it renders an
// incident's record and seals its bundle with a manifest. It writes a report
// in every ending, also when what the report is about can no longer be read.
package evidence
