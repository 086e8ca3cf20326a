package configrepo

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stella-ops/stella/internal/safe"
)

// What the loader's errors look like: it has no types for them.
var (
	validatingRE = regexp.MustCompile(`(?s)^validating (.+?): (.+)$`)
	fieldRE      = regexp.MustCompile(`\b((?:services|volumes|networks|configs|secrets|models)\.[^\s:]+)`)
	serviceRE    = regexp.MustCompile(`\bservice "?([A-Za-z0-9._-]+)"? (?:declares|refers|depends|in|has)`)
	extendsRE    = regexp.MustCompile(`^extends\.([^\s:]+)\.service`)
	decodeRE     = regexp.MustCompile(`(?m)^'([^']+)' (.*)$`)
	cycleRE      = regexp.MustCompile(`dependency cycle detected: (.+)$`)
)

// loaderProblems places an error of the loader as well as its words allow.
func (s *scratch) loaderProblems(sources []*composeSource, err error) Problems {
	text := strings.ReplaceAll(err.Error(), s.dir+string(filepath.Separator), "")
	text = strings.ReplaceAll(text, s.dir, "")
	text = strings.TrimSuffix(text, ": invalid compose project")
	if all := decodeRE.FindAllStringSubmatch(text, -1); all != nil {
		return decodeProblems(sources, all)
	}
	where := sources[0]
	if m := validatingRE.FindStringSubmatch(text); m != nil {
		text = m[2]
		if i := slices.IndexFunc(sources, func(one *composeSource) bool { return one.doc.path == m[1] }); i >= 0 {
			where = sources[i]
		}
	}
	if m := cycleRE.FindStringSubmatch(text); m != nil {
		names := strings.Split(m[1], " -> ")
		slices.Sort(names)
		return Problems{loaderProblem(where, sources, []string{"services", names[0], "depends_on"},
			"depends on itself: "+strings.Join(slices.Compact(names), ", "))}
	}
	return Problems{fieldProblem(where, sources, text)}
}

// decodeProblems are values that have no place in Compose's types. What the
// loader says of them quotes them.
func decodeProblems(sources []*composeSource, all [][]string) Problems {
	var problems Problems
	for _, m := range all {
		what := "has a value that can not be read"
		switch {
		case strings.Contains(m[2], "duration"):
			what = "is not a duration; write 10s or 1m30s"
		case strings.Contains(m[2], "size"):
			what = "is not a size; write 512m or 2g"
		}
		at := strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune("[].", r) })
		problems = append(problems, loaderProblem(sources[0], sources, at, what))
	}
	return problems
}

// fieldProblem places an error that names a field or a service.
func fieldProblem(where *composeSource, sources []*composeSource, text string) Problem {
	if m := fieldRE.FindStringSubmatch(text); m != nil {
		if n, name := findDotted(where.doc.root, m[1]); strings.Contains(name, ".") {
			p := problemAt(where.doc.path, n, name, loaderText(text), "")
			p.What = strings.TrimLeft(strings.TrimPrefix(p.What, m[1]), ": ")
			return p
		}
	}
	for _, re := range []*regexp.Regexp{serviceRE, extendsRE} {
		if m := re.FindStringSubmatch(text); m != nil {
			return loaderProblem(where, sources, []string{"services", m[1]}, text)
		}
	}
	return Problem{Path: where.doc.path, What: loaderText(text)}
}

// loaderProblem is a Problem at a path of keys, in the file that has most of it.
func loaderProblem(where *composeSource, sources []*composeSource, at []string, text string) Problem {
	best, longest := where, -1
	for _, one := range sources {
		if _, name := one.find(at...); len(name) > longest {
			best, longest = one, len(name)
		}
	}
	n, _ := best.find(at...)
	field := ""
	for _, key := range at {
		field = joinField(field, key)
	}
	return problemAt(best.doc.path, n, field, loaderText(text), "")
}

// loaderText returns what the loader says, without the values that it says it
// of and without the words of its schema.
func loaderText(text string) string {
	if strings.Contains(text, "failed to cast to expected type") {
		return "has a value of the wrong type"
	}
	text = strings.Replace(text, "false schema", "is not a field of the Compose Specification", 1)
	return safe.Line(text)
}

// withoutValues puts the names of variables where a text has their values.
func withoutValues(text string, vars map[string]string) string {
	names := sortedKeys(vars)
	slices.SortStableFunc(names, func(a, b string) int { return len(vars[b]) - len(vars[a]) })
	for _, name := range names {
		const tooCommon = 2 // "80", "a": no secret, and in any text
		if len(vars[name]) > tooCommon {
			text = strings.ReplaceAll(text, safe.Line(vars[name]), "${"+name+"}")
		}
	}
	return text
}
