package strictyaml

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// What YAML 1.1 and 1.2 readers take for a number; they disagree, so that the
// union is refused as text. https://yaml.org/type/int.html and float.html, and
// part 10.3 of the YAML 1.2 specification. Two dots are text in all of them.
var numberRE = regexp.MustCompile(`^[-+]?(` +
	`0b[01_]+|0o[0-7]+|0x[0-9a-fA-F_]+|` +
	`[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|` +
	`\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)

// resolve says what a plain scalar is for at least one YAML reader: "null",
// "a boolean", "a number" or, where all agree that it is text, "".
func resolve(s string) string {
	switch strings.ToLower(s) {
	case "", "~", "null":
		return "null"
	case "y", "n", "yes", "no", "on", "off", "true", "false":
		return "a boolean"
	}
	if numberRE.MatchString(s) {
		return "a number"
	}
	return ""
}

// isPlain reports a scalar without quotes, tag or block indicator.
func isPlain(n *yaml.Node) bool {
	const styled = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return n.Kind == yaml.ScalarNode && n.Style&styled == 0 && n.Tag != "!"
}

// plainSafe matches text that no place in a document gives another meaning.
var plainSafe = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/:@+-]*[A-Za-z0-9._/@+-])?$`)

// IsPlainText reports that s may stand in a document without quotes, anywhere a
// scalar may, and every reader takes it for this text.
func IsPlainText(s string) bool { return plainSafe.MatchString(s) && resolve(s) == "" }
