package chat

import (
	"fmt"
	"strings"

	"github.com/slack-go/slack"

	"gpumedic/steps"
)

// part is one message of a thread, with the key it is found again by.
type part struct {
	key      string
	fallback string
	blocks   []slack.Block
}

// maxStoryBlocks keeps one reply readable; a longer story is in the report.
const maxStoryBlocks = 4

// storyPart makes one reply of all lines.
func (h *Hands) storyPart(p steps.PostStoryParams) part {
	text := clean(strings.Join(p.Lines, "\n"))
	calls := h.mentions(p.Mention)
	var blocks []slack.Block
	if calls != "" {
		blocks = append(blocks, slack.NewSectionBlock(markdown(calls, maxSection), nil, nil))
	}
	for text != "" && len(blocks) < maxStoryBlocks {
		var shown string
		shown, text = splitLines(text, maxSection)
		blocks = append(blocks, slack.NewSectionBlock(plain(shown, maxSection), nil, nil))
	}
	if text != "" {
		blocks = append(blocks, slack.NewContextBlock("", markdown("Cut here; the rest is in the report.", maxField)))
	}
	if len(blocks) == 0 {
		blocks = append(blocks, slack.NewSectionBlock(plain("", maxSection), nil, nil))
	}
	fallback := strings.TrimSpace(calls + " " + escapeTo(oneLine(strings.Join(p.Lines, " ")), 1000))
	return part{key: p.Key, fallback: orDash(fallback), blocks: blocks}
}

// diffParts spreads a whole diff over several replies.
func diffParts(diff, key string) []part {
	var parts []part
	rest := clean(diff)
	for rest != "" && len(parts) < maxDiffParts {
		var shown string
		shown, rest = splitLines(rest, maxDiff)
		name := fmt.Sprintf("The whole diff, part %d", len(parts)+1)
		parts = append(parts, part{key: fmt.Sprintf("%s/diff/%d", key, len(parts)+1), fallback: name,
			blocks: []slack.Block{slack.NewContextBlock("", markdown(name, maxField)), preformatted("", shown)}})
	}
	if rest != "" {
		last := &parts[len(parts)-1]
		last.blocks = append(last.blocks, slack.NewContextBlock("", markdown(fmt.Sprintf("Cut here; %d more lines are in the report.", lines(rest)), maxField)))
	}
	return parts
}
