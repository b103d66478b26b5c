package faults

// Seconds of a healthy process.
const (
	computeSeconds  = 0.00121
	copySeconds     = 0.0005
	workSeconds     = 0.00093
	lateSeconds     = 0.00002
	exchangeSeconds = 0.00082
)

// ownTimes tell a slow rank: what it does by itself, how late it comes to a
// collective, and how long it exchanges data with its two neighbours.
type ownTimes struct {
	Compute  float64 `json:"compute_seconds"`
	Copy     float64 `json:"copy_seconds"`
	Late     float64 `json:"late_seconds,omitempty"`
	Work     float64 `json:"work_seconds,omitempty"`
	Exchange float64 `json:"exchange_seconds,omitempty"`
}

// times are those of one process of a rank.
func (m *Model) times(p *process, g *gang, local int) ownTimes {
	about := func(kind string, seconds float64) float64 {
		return round(seconds*(1+0.03*noise(kind, p.node(), local)), 9)
	}
	own := m.slowness(p.pod.Spec.NodeName, true)
	t := ownTimes{Compute: about("compute", own*computeSeconds), Copy: about("copy", own*copySeconds)}
	if p.world*p.procs() == 1 {
		return t
	}
	t.Work = about("work", own*workSeconds)
	t.Late = about("late", lateSeconds) + (own-1)*workSeconds
	t.Exchange = about("exchange", exchangeSeconds*m.exchangeFactor(p, g))
	return t
}

// exchangeFactor: a slow adapter is felt by its own rank and by both that
// exchange data with it, and by nobody else.
func (m *Model) exchangeFactor(p *process, g *gang) float64 {
	if !g.overRDMA() {
		return 1
	}
	factor := 1.0
	for _, near := range []int{-1, 0, 1} {
		peer := g.members[(p.rank+near+len(g.members))%len(g.members)]
		factor = max(factor, m.slowness(peer.pod.Spec.NodeName, false))
	}
	return factor
}

func (m *Model) sayEnd(p *process, g *gang) {
	_, asked := p.ops()
	for local := range p.procs() {
		times := m.times(p, g, local)
		e := event{Event: "rank", Rank: &p.rank, Local: &local, Host: p.node(), Seconds: round(times.Compute+times.Copy, 9)}
		if asked {
			e.ownTimes = &times
		}
		p.emit(e)
	}
	if p.rank == 0 {
		p.emit(event{Event: "end", Rank: &p.rank, OK: true, World: p.world})
	}
}
