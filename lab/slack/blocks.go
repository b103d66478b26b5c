package slack

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf16"
)

// Limits of a whole message.
const (
	maxBlocks = 50
	// maxAllText is where messages were seen to be refused as
	// msg_blocks_too_long; Slack does not publish the number.
	maxAllText = 13200
)

// blockChecker walks blocks against shapes and keeps every complaint with its
// JSON pointer, as Slack reports them.
type blockChecker struct {
	complaints []string
	blockIDs   map[string]bool
	text       int
}

func (c *blockChecker) complain(at, format string, args ...any) {
	c.complaints = append(c.complaints, fmt.Sprintf("[ERROR] %s [json-pointer:%s]", fmt.Sprintf(format, args...), at))
}

// checkBlocks parses and checks the parameter blocks. It returns them with the
// block ids filled in, as Slack stores them.
func checkBlocks(raw string) (json.RawMessage, *apiError) {
	var blocks []any
	if err := json.Unmarshal([]byte(raw), &blocks); err != nil {
		return nil, fail("invalid_blocks_format")
	}
	c := &blockChecker{blockIDs: map[string]bool{}}
	if len(blocks) > maxBlocks {
		c.complain("/blocks", "no more than %d items allowed", maxBlocks)
	}
	for i, block := range blocks {
		c.block(fmt.Sprintf("/blocks/%d", i), i, block)
	}
	if len(c.complaints) > 0 {
		return nil, failWith("invalid_blocks", map[string]any{
			"errors": c.complaints, "response_metadata": map[string]any{"messages": c.complaints},
		})
	}
	if c.text > maxAllText {
		return nil, fail("msg_blocks_too_long")
	}
	data, err := json.Marshal(blocks)
	if err != nil {
		return nil, fail("invalid_blocks_format")
	}
	return data, nil
}

func (c *blockChecker) block(at string, index int, v any) {
	object, ok := v.(map[string]any)
	if !ok {
		c.complain(at, "must be an object")
		return
	}
	kind, _ := object["type"].(string)
	shape, known := blockShapes[kind]
	if !known {
		c.complain(at+"/type", "unsupported type: %s", kind)
		return
	}
	c.object(at, object, shape)
	if kind == "section" && object["text"] == nil && object["fields"] == nil {
		c.complain(at, "missing required field: text or fields")
	}
	id, _ := object["block_id"].(string)
	if id == "" {
		id = fmt.Sprintf("auto-%d", index)
		object["block_id"] = id
	}
	if c.blockIDs[id] {
		c.complain(at+"/block_id", "block_id %q already exists", id)
	}
	c.blockIDs[id] = true
}

// rule checks one field's value.
type rule func(c *blockChecker, at string, v any)

// shape is an object: what it must have and what it may have. A field in
// neither is refused.
type shape struct {
	must map[string]rule
	may  map[string]rule
}

func (c *blockChecker) object(at string, object map[string]any, s shape) {
	for _, name := range sortedKeys(s.must) {
		if _, ok := object[name]; !ok {
			c.complain(at, "missing required field: %s", name)
		}
	}
	for _, name := range sortedKeys(object) {
		check, ok := s.must[name]
		if !ok {
			check, ok = s.may[name]
		}
		switch {
		case !ok && name != "type":
			c.complain(at, "invalid additional property: %s", name)
		case ok:
			check(c, at+"/"+name, object[name])
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// units counts characters as strictly as Slack's clients do.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

// str takes a string of 1 to limit characters.
func str(limit int) rule {
	return func(c *blockChecker, at string, v any) {
		s, ok := v.(string)
		switch {
		case !ok:
			c.complain(at, "must be a string")
		case s == "":
			c.complain(at, "must be more than 0 characters")
		case units(s) > limit:
			c.complain(at, "must be less than %d characters", limit+1)
		}
	}
}

func oneOf(values ...string) rule {
	return func(c *blockChecker, at string, v any) {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			c.complain(at, "must be a valid enum value: %s", strings.Join(values, ", "))
		}
	}
}

func boolean(c *blockChecker, at string, v any) {
	if _, ok := v.(bool); !ok {
		c.complain(at, "must be a boolean")
	}
}

func number(c *blockChecker, at string, v any) {
	if n, ok := v.(float64); !ok || n < 0 || n != float64(int(n)) {
		c.complain(at, "must be a whole number")
	}
}

// text takes a text object of one of the kinds.
func text(limit int, kinds ...string) rule {
	return func(c *blockChecker, at string, v any) {
		object, ok := v.(map[string]any)
		if !ok {
			c.complain(at, "must be an object")
			return
		}
		kind, _ := object["type"].(string)
		if !slices.Contains(kinds, kind) {
			c.complain(at+"/type", "must be a valid enum value: %s", strings.Join(kinds, ", "))
			return
		}
		own := map[string]rule{"emoji": boolean}
		if kind == "mrkdwn" {
			own = map[string]rule{"verbatim": boolean}
		}
		c.object(at, object, shape{must: map[string]rule{"text": str(limit)}, may: own})
		c.count(object["text"])
	}
}

func (c *blockChecker) count(v any) {
	if s, ok := v.(string); ok {
		c.text += units(s)
	}
}

// list takes 1 to limit items.
func list(limit int, item rule) rule {
	return func(c *blockChecker, at string, v any) {
		items, ok := v.([]any)
		switch {
		case !ok:
			c.complain(at, "must be an array")
			return
		case len(items) == 0:
			c.complain(at, "must have at least 1 item")
		case len(items) > limit:
			c.complain(at, "no more than %d items allowed", limit)
		}
		for i, child := range items {
			item(c, fmt.Sprintf("%s/%d", at, i), child)
		}
	}
}

// typed takes an object whose type picks its shape.
func typed(shapes map[string]shape) rule {
	return func(c *blockChecker, at string, v any) {
		object, ok := v.(map[string]any)
		if !ok {
			c.complain(at, "must be an object")
			return
		}
		kind, _ := object["type"].(string)
		s, known := shapes[kind]
		if !known {
			c.complain(at+"/type", "unsupported type: %s", kind)
			return
		}
		c.object(at, object, s)
		if kind == "text" {
			c.count(object["text"])
		}
	}
}

// plainObject takes an object without a type.
func plainObject(s shape) rule {
	return func(c *blockChecker, at string, v any) {
		if object, ok := v.(map[string]any); ok {
			c.object(at, object, s)
			return
		}
		c.complain(at, "must be an object")
	}
}
