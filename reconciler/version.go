package reconciler

import (
	"strings"

	"golang.org/x/mod/semver"
)

// compareVersions orders two releases as semantic versions, with or without a
// "v" in front. It is false when one of them is none.
func compareVersions(a, b string) (int, bool) {
	a, b = "v"+strings.TrimPrefix(a, "v"), "v"+strings.TrimPrefix(b, "v")
	if !semver.IsValid(a) || !semver.IsValid(b) {
		return 0, false
	}
	return semver.Compare(a, b), true
}
