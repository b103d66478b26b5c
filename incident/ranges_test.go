package incident

import "testing"

func TestRanges(t *testing.T) {
	for want, numbers := range map[string][]int{"": nil, "0": {0}, "0-1": {0, 1}, "0-3,7": {0, 1, 2, 3, 7}, "1,3,5-6": {1, 3, 5, 6}, "-1,4": {-1, 4}} {
		if got := Ranges(numbers); got != want {
			t.Errorf("%v: got %q, want %q", numbers, got, want)
		}
	}
}
