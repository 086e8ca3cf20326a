package configrepo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// envFile is a file of NAME=value lines, as Compose reads them for env_file and
// label_file: https://docs.docker.com/reference/compose-file/services/#env_file-format.
// Values are expanded with the declared variables, the service's environment
// and the names above them in the file.
type envFile struct {
	path   string
	lookup func(name string) (string, bool) // besides the file's own names
	expand expander
	values map[string]string
	line   int
}

// errQuote says that a quoted value does not end.
var errQuote = errors.New("a quote is not closed")

// readEnvFile parses a file. The budget of expanded bytes is x's.
func readEnvFile(path string, content []byte, x expander, lookup func(string) (string, bool)) (map[string]string, Problems) {
	f := &envFile{path: path, lookup: lookup, values: map[string]string{}}
	f.expand = expander{lookup: f.find, budget: x.budget}
	rest := strings.TrimPrefix(string(content), "\ufeff")
	var problems Problems
	for rest != "" {
		f.line++
		at := f.line
		var err error
		if rest, err = f.statement(rest); err != nil {
			p := expansionProblem(path, nil, "", err)
			p.Line, p.Column = at, 1
			problems = append(problems, p)
		}
		if errors.Is(err, errQuote) || errors.Is(err, errTooLong) {
			break
		}
	}
	return f.values, problems
}

func (f *envFile) find(name string) (string, bool) {
	if value, ok := f.lookup(name); ok {
		return value, true
	}
	value, ok := f.values[name]
	return value, ok
}

// statement reads one statement and returns what follows it.
func (f *envFile) statement(s string) (rest string, err error) {
	line, rest, _ := strings.Cut(s, "\n")
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return rest, nil
	}
	if after, ok := strings.CutPrefix(line, "export"); ok && after != strings.TrimSpace(after) {
		line = strings.TrimSpace(after)
	}
	end := strings.IndexAny(line, "=:")
	if end < 0 {
		return rest, f.inherit(line)
	}
	name := strings.TrimSpace(line[:end])
	if !envName(name) {
		return rest, fmt.Errorf("is not NAME=value")
	}
	value := strings.TrimSpace(line[end+1:])
	if value == "" || value[0] != '"' && value[0] != '\'' {
		value, _, _ = strings.Cut(line[end+1:], " #")
		return rest, f.set(name, strings.TrimSpace(value), true)
	}
	// A quoted value may go on for lines, so that it is looked for in s.
	quoted := s[strings.Index(s, line)+end+1:]
	quoted = quoted[strings.IndexByte(quoted, value[0]):]
	return f.quoted(name, quoted)
}

// inherit takes a name without a value from the declared variables.
func (f *envFile) inherit(name string) error {
	if !envName(name) {
		return fmt.Errorf("is not NAME=value")
	}
	value, ok := f.lookup(name)
	if !ok {
		return &undeclaredError{name}
	}
	f.values[name] = value
	return nil
}

// quoted reads a quoted value at the start of s and returns what follows its
// line.
func (f *envFile) quoted(name, s string) (rest string, err error) {
	end := 1
	for end < len(s) && s[end] != s[0] {
		if s[end] == '\\' && end+1 < len(s) {
			end++
		}
		end++
	}
	if end >= len(s) {
		return "", errQuote
	}
	value := s[1:end]
	f.line += strings.Count(value, "\n")
	tail, rest, _ := strings.Cut(s[end+1:], "\n")
	if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
		return rest, fmt.Errorf("has text after its closing quote")
	}
	if s[0] == '\'' {
		return rest, f.set(name, strings.ReplaceAll(value, `\'`, `'`), false)
	}
	return rest, f.set(name, unescape(value), true)
}

func (f *envFile) set(name, value string, expand bool) error {
	if expand {
		var err error
		if value, err = f.expand.expand(value); err != nil {
			return err
		}
	}
	f.values[name] = value
	return nil
}

// unescape replaces what a backslash can stand before in double quotes. An
// escaped dollar sign becomes two, for the expansion that follows.
func unescape(s string) string {
	return strings.NewReplacer(
		`\\`, `\`, `\"`, `"`, `\$`, `$$`, `\n`, "\n", `\r`, "\r", `\t`, "\t",
	).Replace(s)
}

func envName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_.-[]", r)
	})
}

// sortedKeys returns a map's keys in order.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
