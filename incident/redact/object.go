package redact

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// JSON redacts a Kubernetes object, or any other JSON document: values of
// environment variables by their names, values of flags, data of Secrets,
// copies of the object in annotations, and everything that has a secret's
// shape. What is not one JSON document is redacted as text.
func JSON(data []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // large numbers must come through as they are
	var doc any
	if err := decoder.Decode(&doc); err != nil {
		return []byte(String(string(data)))
	}
	if _, err := decoder.Token(); err != io.EOF { //nolint:errorlint // the decoder's own; anything else is a second document
		return []byte(String(string(data)))
	}
	out, err := json.Marshal(clean(doc))
	if err != nil { // it was just decoded, so this cannot happen; text is safe
		return []byte(String(string(data)))
	}
	return out
}

func clean(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return cleanObject(v)
	case []any:
		return cleanList(v)
	case string:
		return String(v)
	default:
		return v
	}
}

// cleanList also knows a command line, where a flag's value is the next item.
func cleanList(items []any) []any {
	secret := ""
	for i, item := range items {
		text, isText := item.(string)
		if secret != "" && isText && !strings.HasPrefix(text, "-") {
			items[i] = Env(secret, text)
		} else {
			items[i] = clean(item)
		}
		secret = ""
		if isText && strings.HasPrefix(text, "-") && !strings.Contains(text, "=") && secretName.MatchString(text) {
			secret = text
		}
	}
	return items
}

// lastApplied is kubectl's copy of the whole object, secrets included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func cleanObject(object map[string]any) map[string]any {
	secret := object["kind"] == "Secret"
	name, isEnv := object["name"].(string)
	for key, value := range object {
		text, isText := value.(string)
		switch {
		case key == lastApplied:
			object[key] = "[redacted:copy-of-the-object]"
		case secret && (key == "data" || key == "stringData"):
			object[key] = "[redacted:secret-data]"
		case key == "value" && isEnv && isText:
			object[key] = Env(name, text)
		case isText && secretName.MatchString(key) && !reference(key):
			object[key] = Env(key, text)
		default:
			object[key] = clean(value)
		}
	}
	return object
}

// reference keys name where a secret is kept; the name itself is none.
func reference(key string) bool {
	lower := strings.ToLower(key)
	return strings.HasSuffix(lower, "name") || strings.HasSuffix(lower, "ref") || lower == "topologykey" || lower == "key" || strings.HasSuffix(lower, "/key")
}
