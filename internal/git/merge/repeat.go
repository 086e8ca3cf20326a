package merge

// Git's diff drops, before it compares, lines that occur very often where they
// stand among lines that are only in one text (xdl_cleanup_records in its
// xdiff/xprepare.c). What it finds then need not be a shortest script. The
// numbers are git's.
const (
	maxRepeats  = 1024 // a line that occurs this often is frequent in any text
	repeatsNear = 100  // lines to look at on each side
	repeatsPart = 4    // at most one in so many dropped lines is frequent
)

// Where a line can be found in the other text.
const (
	nowhere = iota
	somewhere
	everywhere
)

// dropped says which lines of a git's diff drops before it compares a with b,
// although they are in b, too. any is false when there is none.
func dropped(a, b []int) (drop []bool, any bool) {
	in := map[int]int{}
	for _, line := range b {
		in[line]++
	}
	limit := min(frequent(len(a)), maxRepeats)
	start, end := trimmed(a, b)
	found := make([]int, len(a))
	for i := start; i < end; i++ {
		switch n := in[a[i]]; {
		case n >= limit:
			found[i] = everywhere
		case n > 0:
			found[i] = somewhere
		}
	}
	drop = make([]bool, len(a))
	for i := start; i < end; i++ {
		if found[i] == everywhere && amongForeign(found, i, start, end) {
			drop[i], any = true, true
		}
	}
	return drop, any
}

// amongForeign reports whether the lines around line i that are not somewhere
// have foreign ones on both sides, and enough of them.
func amongForeign(found []int, i, start, end int) bool {
	foreign, often := 0, 0
	for _, way := range []int{-1, 1} {
		had := foreign
		for j, n := i+way, 1; j >= start && j < end && n <= repeatsNear && found[j] != somewhere; j, n = j+way, n+1 {
			if found[j] == nowhere {
				foreign++
			} else {
				often++
			}
		}
		if foreign == had {
			return false
		}
	}
	often += 2 // git counts the line itself once for each side
	return often*repeatsPart < often+foreign
}

// frequent is how often a line must occur to be frequent in a text of n lines:
// about the root of n.
func frequent(n int) int {
	root := 1
	for ; n > 0; n >>= 2 {
		root <<= 1
	}
	return root
}

// trimmed returns the part of a that is left without the lines with which both
// texts begin and end.
func trimmed(a, b []int) (start, end int) {
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end = len(a)
	for n := len(b); end > start && n > start && a[end-1] == b[n-1]; end, n = end-1, n-1 {
	}
	return start, end
}

// anchors returns the pairs of fixed that git's diff keeps, too, whatever it
// drops, and whether it drops anything. Where it does, only lines that occur
// once in each text count: git moves changes over equal lines, and can not move
// one over those.
func anchors(a, b []int) (pairs []pair, kept int, repeats, ok bool) {
	pairs, kept, ok = fixed(a, b)
	dropA, anyA := dropped(a, b)
	dropB, anyB := dropped(b, a)
	if !ok || !anyA && !anyB {
		return pairs, kept, false, ok
	}
	restA, atA := without(a, dropA)
	restB, atB := without(b, dropB)
	rest, _, ok := fixed(restA, restB)
	still := map[[2]int]bool{}
	for _, p := range rest {
		still[[2]int{atA[p.a], atB[p.b]}] = true
	}
	onceA, onceB := once(a), once(b)
	var sure []pair
	for _, p := range pairs {
		if line := a[p.a]; still[[2]int{p.a, p.b}] && onceA[line] && onceB[line] {
			sure = append(sure, p)
		}
	}
	return sure, kept, true, ok
}

func without(lines []int, drop []bool) (rest, at []int) {
	for i, line := range lines {
		if !drop[i] {
			rest, at = append(rest, line), append(at, i)
		}
	}
	return rest, at
}

// once has the lines that occur once.
func once(lines []int) map[int]bool {
	out := map[int]bool{}
	for _, line := range lines {
		_, again := out[line]
		out[line] = !again
	}
	return out
}
