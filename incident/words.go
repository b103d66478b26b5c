package incident

import (
	"fmt"
	"strings"
	"time"
)

// Short writes a duration for people, "30m" instead of "30m0s".
func Short(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// namedWords are how many words of a list a sentence names.
const namedWords = 4

// Some joins the first words of a list and counts the rest.
func Some(words []string) string {
	if len(words) <= namedWords {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:namedWords], ", "), len(words)-namedWords)
}
