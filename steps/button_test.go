package steps

import (
	"strings"
	"testing"
)

func TestButtonValueRoundTrip(t *testing.T) {
	want := ButtonValue{Incident: "incident/lab/training/job/llama-70b", PlanHash: "abc"}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseButtonValue(text)
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestButtonValueRefusesWhatIsNotOurs(t *testing.T) {
	for _, text := range []string{"", "x", "{}", `{"incident":""}`, `{"incident":"` + strings.Repeat("i", 2000) + `"}`} {
		if got, err := ParseButtonValue(text); err == nil {
			t.Errorf("%.40q was read as %v", text, got)
		}
	}
	if _, err := (ButtonValue{Incident: strings.Repeat("i", 2000)}).Encode(); err == nil {
		t.Error("a value that does not fit was encoded")
	}
}
