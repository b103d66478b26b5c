package diagnosis

import "gpumedic/incident"

// What objects and metrics say of the way of the data. That the input is too slow
// is shown by steps that wait for it; the other questions tell where the time goes,
// and with it which remedy comes first.

const (
	dataCase    = "dataset-slow"
	idleCase    = "low-gpu-utilization"
	inputCause  = "input-pipeline-too-slow"
	volumeCause = "volume-bind-or-mount-failure"
	readCause   = "storage-read-error-or-stale-handle"
	loaderCause = "dataloader-deadlock-or-misconfig"
)

var dataRules = []rule{
	{question: incident.InputWaits, cause: inputCause, failureCase: dataCase, seen: 0.85, alone: 0.75, no: 0.4},
	{question: incident.IOWaitHigh, cause: inputCause, failureCase: dataCase, seen: 0.5, alone: 0.3, no: 1, common: true},
	{question: incident.CPUSaturated, cause: inputCause, failureCase: dataCase, seen: 0.5, alone: 0.25, no: 1, common: true},
	{question: incident.GPUsIdle, cause: inputCause, failureCase: dataCase, seen: 0.4, alone: 0.2, no: 0.6, common: true},
	{question: incident.VolumeClassSlow, cause: inputCause, failureCase: dataCase, seen: 0.4, alone: 0.2, no: 1, common: true},
	{question: incident.CacheCold, cause: inputCause, failureCase: dataCase, seen: 0.5, alone: 0.3, no: 1, common: true},
	{question: incident.CacheMissing, cause: inputCause, failureCase: dataCase, seen: 0.3, alone: 0.1, no: 1, common: true},
	{question: incident.LoaderWorkersFew, cause: inputCause, failureCase: dataCase, seen: 0.5, alone: 0.2, no: 1, common: true},
	{question: incident.PreprocessingFail, cause: inputCause, failureCase: dataCase, seen: 0.75, alone: 0.55, no: 1, common: true},
	{question: incident.LoaderWorkersDie, cause: loaderCause, failureCase: dataCase, seen: 0.6, alone: 0.5, no: 1},
	{question: incident.VolumeUnbound, cause: volumeCause, failureCase: dataCase, seen: 0.9, alone: 0.85, no: 0.9},
	{question: incident.VolumeMountFails, cause: volumeCause, failureCase: dataCase, seen: 0.9, alone: 0.85, no: 0.8},
	{question: incident.VolumeFull, cause: readCause, failureCase: dataCase, seen: 0.85, alone: 0.4, no: 1},
}

// probeRules rest on a measurement of the storage itself, from where the ranks run.
var probeRules = []rule{
	{question: incident.StorageSlow, cause: inputCause, failureCase: dataCase, seen: 0.85, alone: 0.6, no: 1, common: true},
	{question: incident.SmallFilesSlow, cause: inputCause, failureCase: dataCase, seen: 0.8, alone: 0.55, no: 1, common: true},
}
