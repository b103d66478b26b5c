package report

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode"

	"gpumedic/incident"
	"gpumedic/incident/redact"
)

// scrubbed is a copy of a record without secrets, with its times in UTC and
// with nothing in it that JSON could not say.
func scrubbed(rec incident.Record) incident.Record {
	return scrub(rec, redact.String)
}

// shown is a scrubbed copy for people's eyes: what would steer a terminal, or
// make text look other than it is, is made visible.
func shown[T any](value T) T {
	return scrub(value, func(text string) string { return visible(redact.String(text)) })
}

func scrub[T any](value T, text func(string) string) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	scrubInto(out, reflect.ValueOf(value), text)
	return out.Interface().(T)
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// scrubInto copies plain data, every string through text.
func scrubInto(to, from reflect.Value, text func(string) string) {
	switch {
	case from.Type() == timeType:
		to.Set(reflect.ValueOf(from.Interface().(time.Time).UTC()))
		return
	case from.Type() == rawType:
		to.SetBytes(scrubRaw(from.Bytes(), text))
		return
	}
	switch from.Kind() {
	case reflect.String:
		to.SetString(text(from.String()))
	case reflect.Float64:
		to.SetFloat(number(from.Float()))
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(from.Type().Elem()))
			scrubInto(to.Elem(), from.Elem(), text)
		}
	case reflect.Struct:
		for i := range from.NumField() {
			scrubInto(to.Field(i), from.Field(i), text)
		}
	case reflect.Slice:
		if !from.IsNil() {
			to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				scrubInto(to.Index(i), from.Index(i), text)
			}
		}
	case reflect.Map:
		scrubMap(to, from, text)
	default:
		to.Set(from)
	}
}

// scrubMap treats the maps of the nouns, which are all keyed by a string, as
// what they are most like: variables with their values.
func scrubMap(to, from reflect.Value, text func(string) string) {
	if from.IsNil() {
		return
	}
	to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
	for _, key := range from.MapKeys() {
		value := reflect.New(from.Type().Elem()).Elem()
		scrubInto(value, from.MapIndex(key), text)
		if value.Kind() == reflect.String {
			value.SetString(redact.Env(key.String(), value.String()))
		}
		to.SetMapIndex(key, value)
	}
}

// scrubRaw redacts JSON; what is none becomes a string.
func scrubRaw(data []byte, text func(string) string) []byte {
	switch {
	case len(data) == 0:
		return nil
	case json.Valid(data):
		return redact.JSON(data)
	}
	quoted, err := json.Marshal(text(string(data)))
	if err != nil { // a string can always be encoded
		return nil
	}
	return quoted
}

// number makes zero, which means "not known" throughout the nouns, of what is
// no number.
func number(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// visible replaces what is not printed as itself: control characters, and
// characters that turn the direction of the text around them.
func visible(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t' || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, text)
}
