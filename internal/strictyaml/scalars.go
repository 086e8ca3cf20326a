package strictyaml

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// TextRule is what a text must be like.
type TextRule struct {
	Pattern *regexp.Regexp // in the syntax that RE2 and ECMA 262 share; nil: LinePattern
	What    string         // said where the pattern does not match: "is not a name"
	Want    string         // and what to do: "want a-z and 0-9"
	Most    int            // runes; 0 means 1000
}

// linePattern matches text without control characters; blockPattern allows
// newlines and tabs.
var (
	linePattern  = regexp.MustCompile(`^[^\x00-\x1f\x7f-\x9f]*$`)
	blockPattern = regexp.MustCompile(`^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$`)
)

// Text is a text by a rule. What a YAML reader may take for something else must
// be in quotes.
func Text(r TextRule) Shape[string] {
	if r.Pattern == nil {
		r.Pattern, r.What = linePattern, "has a control character"
	}
	if r.Want == "" {
		r.Want = "want text"
	}
	if r.Most == 0 {
		r.Most = 1000
	}
	schema := Schema{"type": "string", "pattern": r.Pattern.String(), "maxLength": r.Most}
	return Shape[string]{want: r.Want, schema: schema, read: func(v Value) (string, bool) {
		s, ok := v.text(r.Want)
		switch {
		case !ok:
			return "", false
		case utf8.RuneCountInString(s) > r.Most:
			v.Problem(fmt.Sprintf("is %d characters long", utf8.RuneCountInString(s)), fmt.Sprintf("keep to %d", r.Most))
			return "", false
		case !r.Pattern.MatchString(s):
			v.Problem(r.What, r.Want)
			return "", false
		}
		return s, true
	}}
}

// Line is any text without control characters.
func Line(most int) Shape[string] { return Text(TextRule{Most: most}) }

// Block is any text; of control characters only newlines and tabs.
func Block(most int) Shape[string] {
	return Text(TextRule{Pattern: blockPattern, What: "has a control character", Want: "want text", Most: most})
}

// text returns a scalar that is text for every YAML reader.
func (v Value) text(want string) (string, bool) {
	if !v.isKind(yaml.ScalarNode, want) {
		return "", false
	}
	if !isPlain(v.node) {
		return v.node.Value, true
	}
	switch kind := resolve(v.node.Value); kind {
	case "":
		return v.node.Value, true
	case "null":
		v.Problem("is empty", want)
	default:
		v.Problem("is read as "+kind+" and not as text", "put it in quotes")
	}
	return "", false
}

// Enum is one of a few words. They need no quotes, whatever they look like.
func Enum[T ~string](words ...T) Shape[T] {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	want := "want " + orList(names)
	return Shape[T]{want: want, schema: Schema{"enum": names}, read: func(v Value) (T, bool) {
		if !v.isKind(yaml.ScalarNode, want) {
			return "", false
		}
		if i := slices.Index(names, v.node.Value); i >= 0 {
			return words[i], true
		}
		v.Problem("is not one of the values", want)
		return "", false
	}}
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// Bool is true or false.
func Bool() Shape[bool] {
	const want = "want true or false, without quotes"
	return Shape[bool]{want: want, schema: Schema{"type": "boolean"}, read: func(v Value) (bool, bool) {
		if !v.isKind(yaml.ScalarNode, want) {
			return false, false
		}
		if isPlain(v.node) {
			switch v.node.Value {
			case "true", "True", "TRUE":
				return true, true
			case "false", "False", "FALSE":
				return false, true
			}
		}
		v.Problem("is not a boolean", want)
		return false, false
	}}
}

// Whole is a whole number from least to most.
func Whole(least, most int) Shape[int] {
	want := fmt.Sprintf("want a whole number from %d to %d", least, most)
	schema := Schema{"type": "integer", "minimum": least, "maximum": most}
	return Shape[int]{want: want, schema: schema, read: func(v Value) (int, bool) {
		if !v.isKind(yaml.ScalarNode, want) {
			return 0, false
		}
		n, err := strconv.Atoi(v.node.Value)
		switch {
		case !isPlain(v.node) || !wholeRE.MatchString(v.node.Value):
			v.Problem("is not a whole number", want)
		case err != nil || n < least || n > most:
			v.Problem("is out of range", want)
		default:
			return n, true
		}
		return 0, false
	}}
}

var (
	wholeRE    = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	durationRE = regexp.MustCompile(`^-?([0-9]{1,12}(\.[0-9]{1,9})?(ns|us|ms|s|m|h)){1,6}$`)
)

// Duration is a number with a unit, "1m30s", from least to most.
func Duration(least, most time.Duration) Shape[time.Duration] {
	want := fmt.Sprintf("want a duration from %s to %s, such as 90s or 5m", short(least), short(most))
	schema := Schema{"type": "string", "pattern": durationRE.String()}
	return Shape[time.Duration]{want: want, schema: schema, read: func(v Value) (time.Duration, bool) {
		if !v.isKind(yaml.ScalarNode, want) {
			return 0, false
		}
		if isPlain(v.node) && resolve(v.node.Value) != "" {
			v.wrongScalar(want)
			return 0, false
		}
		if !durationRE.MatchString(v.node.Value) {
			v.Problem("is not a duration", want)
			return 0, false
		}
		// The pattern leaves overflow as the only error.
		d, err := time.ParseDuration(v.node.Value)
		if err != nil || d < least || d > most {
			v.Problem("is out of range", want)
			return 0, false
		}
		return d, true
	}}
}

// short is d without the zero parts that Duration.String appends: "2m".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var (
	untilRE   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[-+][0-9]{2}:[0-9]{2}))?$`)
	instantRE = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[-+][0-9]{2}:[0-9]{2})$`)
)

// Until is a day, which ends with it in UTC, or a time as in RFC 3339.
func Until() Shape[time.Time] {
	return instant("want a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z", untilRE,
		func(s string) (time.Time, error) {
			if day, err := time.Parse(time.DateOnly, s); err == nil {
				return day.AddDate(0, 0, 1), nil
			}
			return time.Parse(time.RFC3339, s)
		})
}

// Instant is a time as in RFC 3339.
func Instant() Shape[time.Time] {
	return instant("want a time such as 2027-01-31T18:00:00Z", instantRE,
		func(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) })
}

func instant(want string, pattern *regexp.Regexp, parse func(string) (time.Time, error)) Shape[time.Time] {
	text := Text(TextRule{Pattern: pattern, What: "is not a time", Want: want})
	return Convert(text, func(v Value, s string) (time.Time, bool) {
		t, err := parse(s)
		if err != nil {
			v.Problem("is not a time", want)
			return time.Time{}, false
		}
		return t.UTC(), true
	})
}
