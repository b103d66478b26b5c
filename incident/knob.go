package incident

// KnobAnnotation on a workload declares what gpumedic may turn, as a YAML list
// of Knob. Without it every change of what a program is told is only advice.
const KnobAnnotation = "gpumedic.io/knobs"

// CheckpointAnnotation on a workload or on its pods says when the last
// checkpoint was written, as RFC 3339 time. Without it the price of a restart is
// counted from the start of the ranks.
const CheckpointAnnotation = "gpumedic.io/last-checkpoint"

// Roles of knobs that remedies know.
const (
	KnobMicroBatch   = "micro-batch"
	KnobAccumulation = "accumulation"
	KnobPrecision    = "precision"
	KnobWorkers      = "loader-workers"
	KnobPrefetch     = "prefetch"
	KnobCacheDir     = "cache-dir"
	KnobImage        = "cache-image"
)

// Knob is one thing that may be turned.
type Knob struct {
	// Role is one of the roles above; each at most once.
	Role string `json:"role"`
	// Container is the container's name; "" = the one with the GPUs.
	Container string `json:"container,omitempty"`
	// Env is the environment variable, or Arg the argument ("--batch-size", its
	// value behind "=" or as the next one). Exactly one of the two is set.
	Env string `json:"env,omitempty"`
	Arg string `json:"arg,omitempty"`
	// Type is "int", "choice" or, of cache-dir alone, "path".
	Type string `json:"type"`
	// Min and Max bound an int, Step is its grid counted from Min; 0 = 1.
	Min  int `json:"min,omitempty"`
	Max  int `json:"max,omitempty"`
	Step int `json:"step,omitempty"`
	// Choices of a choice, from the most to the least demanding: fp32, bf16.
	Choices []string `json:"choices,omitempty"`
	// Constant names the role whose product with this one must stay as it is:
	// micro-batch times accumulation. Both ints.
	Constant string `json:"constant,omitempty"`
	// Source of a path is the directory that holds the dataset, which the program
	// only reads; "" = it is not declared. Size is how much it holds, as a quantity
	// such as "800Gi"; "" = as much as its volume can.
	Source string `json:"source,omitempty"`
	Size   string `json:"size,omitempty"`
}
