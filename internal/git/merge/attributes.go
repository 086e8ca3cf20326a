package merge

import (
	"path"
	"strings"
)

// Attributes knows for which files a repository's .gitattributes may ask git to
// merge in another way than by line: with a driver, or not at all. It errs on
// that side: it takes no back what a later line says, and a pattern that is more
// than a file's name matches everything. The zero value knows of none.
type Attributes struct {
	names []string // patterns for file names, in lower case
	all   bool
}

// Add reads one .gitattributes file (gitattributes(5)).
func (a *Attributes) Add(data []byte) {
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || !asksToMerge(fields[1:]) {
			continue
		}
		pattern := strings.ToLower(fields[0])
		if _, err := path.Match(pattern, "x"); err != nil || strings.ContainsAny(pattern, `/"\[`) || strings.Contains(pattern, "**") {
			a.all = true
			continue
		}
		a.names = append(a.names, pattern)
	}
}

// asksToMerge reports whether attributes say how to merge. A macro's definition
// ("[attr]name …") says it of whatever has the macro, which nobody looks for.
func asksToMerge(attributes []string) bool {
	for _, attr := range attributes {
		if attr == "binary" || attr == "-merge" || strings.HasPrefix(attr, "merge=") {
			return true
		}
	}
	return false
}

// Ask reports whether a path may have to be merged in another way.
func (a *Attributes) Ask(name string) bool {
	if a.all {
		return true
	}
	base := strings.ToLower(path.Base(name))
	for _, pattern := range a.names {
		if ok, err := path.Match(pattern, base); ok || err != nil {
			return true
		}
	}
	return false
}
