package steps

// Kind groups steps by what they do to the world.
type Kind string

// The closed set of kinds. Only Change steps may alter a target; Test steps
// create and remove objects of their own.
const (
	Collect Kind = "collect"
	Check   Kind = "check"
	Test    Kind = "test"
	Alter   Kind = "change"
	Notify  Kind = "notify"
)

// Intent picks the activity options (workflows/options.go): how long a step
// may take, how often it is tried, whether it must heartbeat.
type Intent string

// The closed set of intents.
const (
	Quick  Intent = "quick"  // a few reads; seconds
	Bulk   Intent = "bulk"   // reads or stores much; minutes, heartbeats
	Await  Intent = "await"  // watches something until a deadline; heartbeats
	Carry  Intent = "carry"  // waits for much data to be copied; hours, heartbeats
	Mutate Intent = "mutate" // changes the world; idempotent, few attempts
	Revert Intent = "revert" // undoes a change; as long as it takes
	Tell   Intent = "tell"   // speaks to people; gives up after a while
)

// Step is one verb of the closed vocabulary.
type Step struct {
	Name    string
	Kind    Kind
	Intent  Intent
	Mutates bool
	// Undo names the step that takes this one back; "" when there is nothing
	// to undo, and then Doc says why.
	Undo string
	// Hand is the package under activities that carries it out.
	Hand string
	Doc  string
}

// All is the vocabulary, in the order of the way of an alert.
func All() []Step {
	return []Step{
		{Name: ResolveTarget, Kind: Collect, Intent: Quick, Hand: "cluster",
			Doc: "finds the target's workload, ranks, nodes and topology from an alert's labels, up the owner references"},
		{Name: CollectEvidence, Kind: Collect, Intent: Bulk, Hand: "cluster",
			Doc: "stores logs of all ranks (current and previous), events and objects, redacted, before anything can change"},
		{Name: CheckWorkload, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D1: pods per phase, restarts, exit codes, who died first"},
		{Name: CheckNCCLEnv, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D2: NCCL environment per pod: values, dead ones, differences between ranks"},
		{Name: CheckPolicies, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D3: which rank-to-rank traffic NetworkPolicies block"},
		{Name: CheckPlacement, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D4: ranks over nodes, leaf switches, racks and zones"},
		{Name: CheckRDMA, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D5: RDMA resources requested against offered, interfaces named against existing"},
		{Name: CheckMemory, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "D1: kills and evictions for memory, nodes short of it, /dev/shm, slices of GPUs, allocator settings, declared knobs"},
		{Name: CheckCapacity, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "G3, G4: GPUs that nodes do not expose, free ones and their fragmentation, room on larger ones"},
		{Name: CheckVolumes, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "P1, P4: claims that are not bound, volumes that cannot be mounted, slow classes"},
		{Name: CheckLoading, Kind: Check, Intent: Quick, Hand: "cluster", Doc: "P2, P3, P5 from objects: local cache of a remote dataset, loader workers for the CPUs, jobs that prepare the data"},
		{Name: CheckRankLogs, Kind: Check, Intent: Bulk, Hand: "cluster", Doc: "D6: signatures and transport over the logs of all ranks"},
		{Name: CheckGPUMetrics, Kind: Check, Intent: Quick, Hand: "metrics", Doc: "G1: memory and utilisation of the ranks' GPUs, from a Prometheus"},
		{Name: CheckDataMetrics, Kind: Check, Intent: Quick, Hand: "metrics", Doc: "P2: waiting for storage, CPU and fill of volumes, from a Prometheus"},
		{Name: PlanCommTest, Kind: Collect, Intent: Quick, Hand: "commtest", Doc: "plans the communication test's next round from the outcomes so far, or gives the verdict; touches nothing"},
		{Name: CheckTestRoom, Kind: Collect, Intent: Quick, Hand: "commtest", Doc: "says whether the nodes have room for the communication test's pods, and who holds their GPUs"},
		{Name: RunCommTest, Kind: Test, Intent: Await, Hand: "commtest", Undo: CleanCommTest, Doc: "runs one group's communication test as an Indexed Job that crosses the nodes, and parses its result"},
		{Name: CleanCommTest, Kind: Test, Intent: Revert, Hand: "commtest", Doc: "deletes what a communication test created; a deletion needs no undo"},
		{Name: RunIOProbe, Kind: Test, Intent: Bulk, Hand: "ioprobe", Undo: CleanIOProbe, Doc: "P2: reads from a rank's volumes on its node, in a pod of its own, and tells how fast they are"},
		{Name: CleanIOProbe, Kind: Test, Intent: Revert, Hand: "ioprobe", Doc: "deletes what a probe of storage created; a deletion needs no undo"},
		{Name: PlanRemedy, Kind: Collect, Intent: Quick, Hand: "cluster", Doc: "makes a remedy concrete by server-side dry run: exact diff, cost, hash"},
		{Name: AcquireLease, Kind: Collect, Intent: Quick, Undo: ReleaseLease, Hand: "governor", Doc: "asks the cluster's governor for leave to change a target or nodes, within the budget of all incidents"},
		{Name: TakeSnapshot, Kind: Collect, Intent: Quick, Hand: "cluster", Doc: "stores the fields that a plan touches, as they are"},
		{Name: PrepareChange, Kind: Alter, Intent: Carry, Mutates: true, Undo: UndoChange, Hand: "cluster", Doc: "creates what a plan needs before the ranks are stopped, and waits until a copy job has ended well"},
		{Name: SuspendWorkload, Kind: Alter, Intent: Mutate, Mutates: true, Undo: ResumeWorkload, Hand: "cluster", Doc: "stops the ranks through what owns them and waits until they are gone"},
		{Name: ApplyChange, Kind: Alter, Intent: Mutate, Mutates: true, Undo: UndoChange, Hand: "cluster", Doc: "applies a plan's changes once, under its operation id"},
		{Name: ResumeWorkload, Kind: Alter, Intent: Revert, Mutates: true, Undo: SuspendWorkload, Hand: "cluster", Doc: "lets the owner start the ranks again"},
		{Name: AwaitRanks, Kind: Check, Intent: Await, Hand: "cluster", Doc: "waits until all ranks run and their logs show the wanted transport and step, or an error"},
		{Name: UndoChange, Kind: Alter, Intent: Revert, Mutates: true, Hand: "cluster", Doc: "puts a snapshot back, never over somebody else's later edit; an undo has no undo"},
		{Name: ReleaseLease, Kind: Collect, Intent: Quick, Hand: "governor", Doc: "gives the leave back; nodes that stay isolated go on counting; a lease that cannot be given back is freed by the governor"},
		{Name: FindHolder, Kind: Collect, Intent: Quick, Hand: "governor", Doc: "asks whether the incident that holds a lease is still open"},
		{Name: PostCard, Kind: Notify, Intent: Tell, Hand: "chat", Doc: "writes or rewrites the incident's one message"},
		{Name: PostStory, Kind: Notify, Intent: Tell, Hand: "chat", Doc: "adds a line to the message's thread"},
		{Name: WriteReport, Kind: Collect, Intent: Bulk, Hand: "evidence", Doc: "renders the record as JSON, text and HTML and seals the bundle with a manifest"},
	}
}

// ByName finds a step, false when the vocabulary has no such verb.
func ByName(name string) (Step, bool) {
	for _, step := range All() {
		if step.Name == name {
			return step, true
		}
	}
	return Step{}, false
}
