package git

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// checkName checks the name of a tree's entry. Errors are of class
// stella.ErrInvalid.
func checkName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "is empty"
	case len(name) > maxNameBytes:
		why = "is too long"
	case name == "." || name == ".." || strings.EqualFold(name, ".git"):
		why = "is not allowed"
	case strings.ContainsRune(name, '/'):
		why = "has a slash"
	case !utf8.ValidString(name):
		why = "is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		why = "has control characters"
	}
	if why != "" {
		return fmt.Errorf("%w: name %q of a file or directory %s", stella.ErrInvalid, safe.Clip(name, 80), why)
	}
	return nil
}

// splitPath returns the parts of a path; the empty path has none.
func splitPath(path string) ([]string, error) {
	if path == "" || path == "." {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	if len(parts) > maxTreeDepth {
		return nil, fmt.Errorf("%w: path %q has more than %d parts", stella.ErrInvalid, safe.Clip(path, 80), maxTreeDepth)
	}
	for _, p := range parts {
		if err := checkName(p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// compareNames orders by bytes.
func compareNames(a, b string) int { return cmp.Compare(a, b) }

// compareEntries orders entries as trees do: directories as if their name had a
// slash at the end.
func compareEntries(a, b Entry) int { return cmp.Compare(sortName(a), sortName(b)) }

func sortName(e Entry) string {
	if e.IsDir() {
		return e.Name + "/"
	}
	return e.Name
}
