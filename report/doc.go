// Package report turns an incident's record into something to read: report.json
// for programs (its fields are a published contract), text for a terminal and
// one HTML page that works without a network. All three are redacted once more
// on the way out, whatever was in the record, and all three can be made of a
// record in which nearly everything went wrong.
package report
