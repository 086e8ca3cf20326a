package strictyaml

import "strings"

// maxSuggest bounds the names that are compared: a longer one was not mistyped.
const maxSuggest = 40

// nearest returns the name that was probably meant, empty where none is close.
// Case does not count, so that Name finds name.
func nearest(name string, names []string) string {
	if len(name) > maxSuggest {
		return ""
	}
	best, bestAt := "", 3
	for _, n := range names {
		most := min(2, len(n)/3+1)
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d <= most && d < bestAt {
			best, bestAt = n, d
		}
	}
	return best
}

// distance is how many characters must be inserted, removed, replaced or
// swapped with their neighbour to make a of b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
