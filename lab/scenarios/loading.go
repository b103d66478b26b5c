package scenarios

import (
	"gpumedic/incident"
	"gpumedic/lab/faults"
)

const (
	datasetSlow = "dataset-slow"
	tooSlow     = "input-pipeline-too-slow"
)

// Loaders: steady keeps up with the GPU when it has eight workers and reads
// from where reading is quick, pictures too, but from many small files.
var (
	steady   = faults.Loader{CPUSeconds: 2.4, BatchMiB: 96, Files: 32}
	pictures = faults.Loader{CPUSeconds: 2.4, BatchMiB: 96, Files: 2048}
	laboured = faults.Loader{CPUSeconds: 24, BatchMiB: 96, Files: 32, Mute: true}
)

// classes are the storage of these incidents, as one rank of eight feels it.
var classes = []faults.Storage{
	{Class: "standard-hdd", MBps: 32, Latency: 14},
	{Class: "shared-nfs", MBps: 400, Latency: 14},
	{Class: "premium-ssd", MBps: 1200, Latency: 0.4},
}

// loading lists the incidents of data.
func loading() []entry {
	return []entry{
		starved("dataset-loader", "The GPUs wait for a loader without workers",
			"Every step waits until the rank itself has read and decoded its batch. The owners declare the number of workers as a knob; "+
				"with workers the batches are ready in time.", "dataset-loader", steady,
			Expect{
				Outcome: incident.Resolved, RootCause: tooSlow, BlamedKind: "config", Changes: 1, Training: true, Transport: "IB",
				Env: map[string]string{"NUM_WORKERS": "[1-9][0-9]?"},
			}),
		starved("dataset-slow-storage", "The dataset lies on a storage class that is too slow",
			"Eight workers wait for the same disks. A faster class exists: the dataset is copied to a new claim of it while the job runs, and the "+
				"job goes on from there. The old claim stays, for a person to delete.",
			"dataset-slow-storage", steady,
			Expect{Outcome: incident.Resolved, RootCause: tooSlow, BlamedKind: "config", Changes: 1, Training: true, Transport: "IB"}).
			measured(incident.StorageSlow, "yes 32 MB/s, 17 ms").measured(incident.SmallFilesSlow, "no .*"),
		unreadable(),
		mountFailure(),
		starved("dataset-cold-cache", "A cache is declared, and it is empty whenever the ranks start",
			"The cache is a folder of the pod that only the program fills, so that the whole first epoch comes from a shared file server. "+
				"An init container copies the dataset there before the ranks start; the owners have declared where it is and how large.", "dataset-cold-cache", pictures,
			Expect{Outcome: incident.Resolved, RootCause: tooSlow, BlamedKind: "config", Changes: 1, Training: true, Transport: "IB"}).
			measured(incident.StorageSlow, "no 400 MB/s, 14 ms").measured(incident.SmallFilesSlow, "yes 280 reads/s, 14 ms"),
		unmeasured(), loadsWell(),
	}
}

// starved is an incident of a job that trains and waits for its data.
func starved(name, title, story, folder string, loader faults.Loader, want Expect) entry {
	want.FailureCase = datasetSlow
	return entry{folder: folder, Scenario: Scenario{
		Name: name, Title: title, Story: story, Alert: of(datasetSlow, alert("DatasetLoadingSlow", "warning")),
		Faults: faults.Script{Trainings: []faults.Training{{Namespace: Namespace, Job: Job, Loader: loader}}, Storage: classes},
		Answer: want.answer(), SettleUntil: UntilTraining, Expect: want,
	}}
}

// unreadable cannot be copied.
func unreadable() entry {
	e := starved("dataset-copy-fails", "The dataset cannot be copied to faster storage",
		"One file cannot be read, so that the copy to the new claim fails. The job is not stopped for it: the copy and the new claim are "+
			"removed again, and the dataset stays where it is.", "dataset-slow-storage", steady,
		Expect{Outcome: incident.RolledBack, RootCause: tooSlow, BlamedKind: "config", Changes: 1, Undone: true, ClusterUnchanged: true, Training: true, Transport: "IB"})
	e.Faults.UnreadableClaims, e.Expect.Trouble = []string{"web-corpus"}, "changing faster-storage: waiting for job training/gpumedic-copy-web-corpus-"
	return e
}

func mountFailure() entry {
	e := starved("dataset-mount-failure", "The dataset's volume cannot be mounted, and the ranks never start",
		"The file server behind the claim does not answer: the pods stay in ContainerCreating with FailedMount events. The volume's owners must "+
			"mend it; nothing is changed.", "dataset-mount-failure", steady,
		Expect{Outcome: incident.Escalated, RootCause: "volume-bind-or-mount-failure", BlamedKind: "config", ClusterUnchanged: true})
	e.Faults.BrokenClaims, e.SettleUntil = []string{"web-archive"}, UntilMounting
	return e
}

// unmeasured cannot be told: the program does not log its waits, and there are no
// metrics.
func unmeasured() entry {
	e := starved("dataset-metrics-missing", "Loading is said to be slow, and nothing tells where the time goes",
		"The program logs no times of its loader and no metrics are there. Not to know is neither healthy nor broken: what would decide is "+
			"said, nothing is changed.", "dataset", laboured,
		Expect{Outcome: incident.Escalated, RootCause: incident.UnknownCause, ClusterUnchanged: true})
	e.Unmeasured = true
	return e
}

func loadsWell() entry {
	return starved("dataset-false-alarm", "An alert about a loader that keeps up",
		"The rule that fired measures the start of the job. Batches are ready before the GPUs want them: the right thing to do is to say so "+
			"and to change nothing.", "dataset", steady,
		Expect{Outcome: incident.NoCause, RootCause: "", ClusterUnchanged: true, Training: true, Transport: "IB"}).healthy()
}

// healthy says that nothing is wrong.
func (e entry) healthy() entry {
	e.Expect.FailureCase = incident.NoneOfThese
	return e
}

// measured adds an answer that the report must have.
func (e entry) measured(question, answer string) entry {
	if e.Expect.Findings == nil {
		e.Expect.Findings = map[string]string{}
	}
	e.Expect.Findings[question] = answer
	return e
}
