package incident

import (
	"fmt"
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	for duration, want := range map[time.Duration]string{
		30 * time.Minute: "30m", time.Hour: "1h", 90 * time.Second: "1m30s", 2 * time.Second: "2s", 0: "0s", 10 * time.Hour: "10h", 1500 * time.Millisecond: "2s",
	} {
		if got := Short(duration); got != want {
			t.Errorf("%s: got %s, want %s", fmt.Sprint(duration), got, want)
		}
	}
}
