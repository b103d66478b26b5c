// Package ioprobe measures the storage that the ranks of a workload read their
// data from, from where they run: a pod on the node of a rank mounts the same
// volumes and reads from them, within bounds of bytes and time. It waits by
// watching, keeps the log as evidence and turns it into findings, and it
// removes what it made.
//
// # What is read
//
// Volumes that lie beyond the node, at most two: those under the directory that
// a variable of the rank names (DATA_DIR and its common spellings), else those
// it mounts read-only, else all. What lies on the node itself, and a path of the
// node, is not probed. The volume's source is the rank's, the mount is read-only.
//
// # The pod
//
// It asks for no GPU, mounts no token, drops all capabilities and writes nowhere
// but to an emptyDir at /tmp. To be let at the same files it runs as the rank's user,
// with the rank's groups, unless the namespace's pod security level forbids
// that user; a volume's owner is never changed (no fsGroup). It tolerates what
// the rank tolerates. Its image is the rank's own unless the settings name one: the
// node has it, and it has python3. fio reads where the image has it, else
// Python itself (the script of this package).
//
// # What it prints
//
// JSON objects, one a line:
//
//	start    host, tool, version, streams; "simulated" where no storage is read
//	tree     path, files seen (up to 20,000 entries), bytes, median_bytes, complete
//	measure  path, test, and the fields of incident.ReadSpeed
//	error    path, op, errno ("EIO"), detail
//	end      ok
//
// # What is measured
//
// Four streams side by side read large files (4 MiB and more) in order in blocks of
// 1 MiB, then 4 KiB at random places of them, and open and read small files (up
// to 1 MiB; the first 64 KiB of each). Before a file is read, what the node has of it in
// memory is dropped, which costs ranks on that node what they would have found
// there; names and sizes that the file system keeps are not dropped, so that
// opening may take longer for a rank than it took here. The ranks go on
// reading meanwhile: what is measured is what is left for one more reader.
package ioprobe
