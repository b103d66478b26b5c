package slack

import "fmt"

const (
	plain  = "plain_text"
	mrkdwn = "mrkdwn"
)

var blockID = str(255)

// with adds the field block_id, which every block may have.
func with(must, may map[string]rule) shape {
	if may == nil {
		may = map[string]rule{}
	}
	may["block_id"] = blockID
	return shape{must: must, may: may}
}

var image = shape{must: map[string]rule{"image_url": str(3000), "alt_text": str(2000)}}

var button = shape{
	must: map[string]rule{"text": text(75, plain)},
	may: map[string]rule{
		"action_id": str(255), "value": str(2000), "url": str(3000), "style": oneOf("primary", "danger"),
		"accessibility_label": str(75),
		"confirm": plainObject(shape{
			must: map[string]rule{"title": text(100, plain), "text": text(300, plain, mrkdwn), "confirm": text(30, plain), "deny": text(30, plain)},
			may:  map[string]rule{"style": oneOf("primary", "danger")},
		}),
	},
}

var textStyle = plainObject(shape{may: map[string]rule{"bold": boolean, "italic": boolean, "strike": boolean, "code": boolean}})

// richInline is what stands inside a rich text section. Its text has no
// published limit of its own; the one for sections is taken.
var richInline = map[string]shape{
	"text":  {must: map[string]rule{"text": str(3000)}, may: map[string]rule{"style": textStyle}},
	"user":  {must: map[string]rule{"user_id": str(30)}, may: map[string]rule{"style": textStyle}},
	"emoji": {must: map[string]rule{"name": str(100)}, may: map[string]rule{"unicode": str(100), "skin_tone": number}},
	"link":  {must: map[string]rule{"url": str(3000)}, may: map[string]rule{"text": str(3000), "style": textStyle, "unsafe": boolean}},
}

var richSection = shape{must: map[string]rule{"elements": list(200, typed(richInline))}}

var richElements = map[string]shape{
	"rich_text_section": richSection,
	"rich_text_quote":   {must: richSection.must, may: map[string]rule{"border": number}},
	"rich_text_preformatted": {
		must: map[string]rule{"elements": list(200, typed(map[string]shape{"text": richInline["text"], "link": richInline["link"]}))},
		may:  map[string]rule{"border": number, "language": str(30)},
	},
	"rich_text_list": {
		must: map[string]rule{"style": oneOf("bullet", "ordered"), "elements": list(200, typed(map[string]shape{"rich_text_section": richSection}))},
		may:  map[string]rule{"indent": number, "offset": number, "border": number},
	},
}

// blockShapes is the part of Block Kit for messages that the stand-in knows.
var blockShapes = map[string]shape{
	"header":  with(map[string]rule{"text": text(150, plain)}, nil),
	"divider": with(nil, nil),
	"section": with(nil, map[string]rule{
		"text": text(3000, plain, mrkdwn), "fields": list(10, text(2000, plain, mrkdwn)), "expand": boolean,
		"accessory": typed(map[string]shape{"button": button, "image": image}),
	}),
	"context":   with(map[string]rule{"elements": list(10, contextElement)}, nil),
	"actions":   with(map[string]rule{"elements": uniqueActions}, nil),
	"image":     with(image.must, map[string]rule{"title": text(2000, plain)}),
	"rich_text": with(map[string]rule{"elements": list(100, typed(richElements))}, nil),
}

func contextElement(c *blockChecker, at string, v any) {
	if object, ok := v.(map[string]any); ok && object["type"] == "image" {
		c.object(at, object, image)
		return
	}
	text(2000, plain, mrkdwn)(c, at, v)
}

// uniqueActions takes the buttons of an actions block.
func uniqueActions(c *blockChecker, at string, v any) {
	list(25, typed(map[string]shape{"button": button}))(c, at, v)
	items, _ := v.([]any)
	seen := map[string]bool{}
	for i, item := range items {
		object, _ := item.(map[string]any)
		id, _ := object["action_id"].(string)
		if id == "" {
			continue
		}
		if seen[id] {
			c.complain(fmt.Sprintf("%s/%d/action_id", at, i), "action_id %q already exists", id)
		}
		seen[id] = true
	}
}
