package drift

import (
	"time"

	"github.com/stella-ops/stella"
)

// Compare returns the differences between desired and live.
func Compare(desired, live stella.State, ignores []Ignore, now time.Time) []stella.Change {
	return nil
}

// Drifted reports whether any of the changes counts: whether one is not ignored.
func Drifted(changes []stella.Change) bool {
	for _, c := range changes {
		if !c.Ignored {
			return true
		}
	}
	return false
}
