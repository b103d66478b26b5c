package simulate
import ("testing";"fmt";"os";"strconv";"gpumedic/localize";"gpumedic/incident")
func TestTrace(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("SIZE")); noise, _ := strconv.ParseFloat(os.Getenv("NOISE"), 64); seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	plan := func(in localize.Input, rounds []incident.Round) localize.Step {
		if n := len(rounds); n > 0 { r := rounds[n-1]; for _, o := range r.Outcomes { s := fmt.Sprint(o.Nodes); if len(s) > 70 { s = fmt.Sprintf("%d nodes %s", len(o.Nodes), s[:60]) }; fmt.Println("   ", r.Number, o.Result, int(o.BusBWGBps), s) } }
		st := localize.Next(in, rounds); fmt.Println("-> suspects", st.Suspects, "cleared", st.Cleared)
		if st.Verdict != nil { fmt.Println(st.Verdict) }
		return st }
	mk, err := Play(Case{Model: os.Getenv("MODEL"), Nodes: size, Noise: noise, Seed: seed, Told: os.Getenv("TOLD") != ""}, plan)
	w, _ := New(mk.Case); fmt.Println(err, w.Bad)
}
