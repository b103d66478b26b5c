package diagnosis

import (
	"slices"
	"strings"

	"gpumedic/incident"
	"gpumedic/steps"
)

// Input is everything that a diagnosis rests on.
type Input struct {
	// FailureCase is the runbook's, used for what no signature speaks of.
	FailureCase string
	// Ranks is how many ranks the target has, 0 when unknown.
	Ranks        int
	Findings     []incident.Finding
	Observations []incident.Observation
	// CommTest is nil when none was run.
	CommTest *incident.CommTest
	// Texts is how many texts without a cluster around them are diagnosed, 0 in an
	// incident: what they say is told by their places then, not by ranks.
	Texts int
	// Spoke are the ranks of which something is known, where they are not just 0 to
	// Ranks-1; nil otherwise.
	Spoke []int
}

// checkOf says which check answers a question.
func checkOf(question string) string {
	switch question {
	case incident.RanksFailing, incident.RankDiedFirst, incident.RanksMissing, incident.WorkloadFailed:
		return steps.CheckWorkload
	case incident.EnvDiffers, incident.EnvDead, incident.EnvRDMADisabled, incident.EnvInterface:
		return steps.CheckNCCLEnv
	case incident.PolicyBlocksRanks, incident.PolicyBlocksDNS:
		return steps.CheckPolicies
	case incident.RanksScattered, incident.NodeNotReady:
		return steps.CheckPlacement
	case incident.RDMANotRequested, incident.RDMAOffered, incident.InterfaceMissing:
		return steps.CheckRDMA
	case incident.TransportUsed, incident.TrainingProgress, incident.RanksSilent, incident.InputWaits, incident.LoaderWorkersDie:
		return steps.CheckRankLogs
	}
	return checkOfMemoryOrData(question)
}

func checkOfMemoryOrData(question string) string {
	switch question {
	case incident.HostMemoryKilled, incident.NodeMemoryShort, incident.ShmSmall, incident.GPUSliced, incident.AllocatorSet, incident.KnobsDeclared:
		return steps.CheckMemory
	case incident.LargerGPUFree, incident.GPUsUnexposed, incident.GPUsFragmented:
		return steps.CheckCapacity
	case incident.GPUMemoryFull, incident.GPUMemoryGrowing, incident.GPUForeignProcess, incident.GPUsIdle:
		return steps.CheckGPUMetrics
	case incident.IOWaitHigh, incident.CPUSaturated, incident.VolumeFull:
		return steps.CheckDataMetrics
	case incident.VolumeUnbound, incident.VolumeMountFails, incident.VolumeClassSlow:
		return steps.CheckVolumes
	case incident.CacheCold, incident.CacheMissing, incident.LoaderWorkersFew, incident.PreprocessingFail:
		return steps.CheckLoading
	case incident.StorageSlow, incident.SmallFilesSlow:
		return steps.RunIOProbe
	}
	return ""
}

// notAsked is the state of a question that nobody put.
const notAsked incident.State = ""

// facts is the input made ready to be asked.
type facts struct {
	Input
	// symptoms are origins and echoes, in the order of their first line.
	symptoms []incident.Observation
	context  []incident.Observation
	benign   []incident.Observation
}

func gather(in Input) facts {
	f := facts{Input: in}
	for _, o := range in.Observations {
		switch o.Role {
		case RoleContext:
			f.context = append(f.context, o)
		case RoleBenign:
			f.benign = append(f.benign, o)
		default:
			f.symptoms = append(f.symptoms, o)
		}
	}
	slices.SortStableFunc(f.symptoms, func(a, b incident.Observation) int {
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	return f
}

// state answers a question over all its subjects: yes when it is yes for any,
// else unknown when it is unknown for any, else no; notAsked when nobody asked.
func (f facts) state(question string) incident.State {
	state := notAsked
	for _, finding := range f.Findings {
		switch {
		case finding.ID == question && finding.State == incident.Yes:
			return incident.Yes
		case finding.ID == question && (finding.State == incident.Unknown || state == notAsked):
			state = finding.State
		case finding.State == incident.Unknown && finding.ID == checkOf(question):
			state = incident.Unknown // the whole check could not be carried out
		}
	}
	return state
}

// asked says whether any question of a check was put.
func (f facts) asked(check string) bool {
	return slices.ContainsFunc(f.Findings, func(finding incident.Finding) bool {
		return finding.ID == check || finding.Check == check || checkOf(finding.ID) == check
	})
}

func (f facts) yes(question string) bool { return f.state(question) == incident.Yes }

// all returns the findings that answer a question with yes.
func (f facts) all(question string) []incident.Finding {
	var out []incident.Finding
	for _, finding := range f.Findings {
		if finding.ID == question && finding.State == incident.Yes {
			out = append(out, finding)
		}
	}
	return out
}

// hints returns the symptoms that may have the cause.
func (f facts) hints(cause string) []incident.Observation {
	var out []incident.Observation
	for _, o := range f.symptoms {
		if slices.Contains(o.Causes, cause) {
			out = append(out, o)
		}
	}
	return out
}

// observed returns the observation of a signature, false when it was not seen.
func (f facts) observed(signature string) (incident.Observation, bool) {
	for _, o := range f.Observations {
		if o.Signature == signature {
			return o, true
		}
	}
	return incident.Observation{}, false
}

// transport is what the ranks use: "ib", "socket", "mixed", "" when nothing
// tells. The finding wins over single lines.
func (f facts) transport() string {
	if f.yes(incident.TransportUsed) {
		return strings.ToLower(f.all(incident.TransportUsed)[0].Value)
	}
	_, ib := f.observed(SignatureIB)
	_, socket := f.observed(SignatureSocket)
	switch {
	case ib && socket:
		return "mixed"
	case ib:
		return "ib"
	case socket:
		return "socket"
	}
	return ""
}

// Signatures that rules know by name.
const (
	SignatureIB       = "nccl-transport-ib"
	SignatureSocket   = "nccl-transport-socket"
	SignatureProgress = "training-step"
	// SignatureStepTimes tells how long a step took and how long it waited for data.
	SignatureStepTimes = "step-times"

	signatureNoIBDevice = "nccl-ib-no-device"
	signatureRDMAWanted = "nccl-rdma-wanted"
	signatureWatchdog   = "torch-watchdog-timeout"
)

// failing says that something is visibly broken, whatever the cause.
func (f facts) failing() bool {
	return f.yes(incident.RanksFailing) || f.yes(incident.WorkloadFailed) ||
		f.yes(incident.RankDiedFirst) || f.yes(incident.RanksMissing) || f.yes(incident.NodeNotReady) ||
		f.yes(incident.VolumeUnbound) || f.yes(incident.VolumeMountFails)
}

// working says that the ranks run and get on, as far as that was asked: it
// needs two answers, that none fails and that steps are logged.
func (f facts) working() bool {
	return !f.failing() && f.state(incident.RanksFailing) == incident.No && f.yes(incident.TrainingProgress)
}
