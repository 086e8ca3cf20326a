package merge

// maxEdits bounds how many lines two texts may differ in (deleted plus added)
// to be merged by line. Up to 512 git's own search is exact; beyond that it is
// a heuristic, and what it finds can not be foreseen.
const maxEdits = 500

// maxSteps bounds the search for equal places: some hundred milliseconds. Only
// a text of the same line over and over comes near it.
const maxSteps = 20 << 20

// pair says that line a of the old text is line b of the new one.
type pair struct {
	a, b int
	// rank is how many lines every shortest edit script keeps before this one.
	rank int
}

// fixed returns the pairs of lines that every shortest edit script from a to b
// keeps, in order, and how many lines such a script keeps. What it does not
// return may as well be deleted and added as kept: that is a matter of taste,
// and tools differ in it. ok is false when the texts differ too much to tell.
//
// The distance from both ends is found as Myers does (An O(ND) Difference
// Algorithm and Its Variations, Algorithmica 1, 1986, pp. 251–266): along a
// diagonal it never shrinks, so that the furthest points alone say how far from
// either end each point is. A point is on a shortest script when the two add up
// to the length of one; a kept line of a rank that no other has is in all of
// them.
func fixed(a, b []int) (pairs []pair, kept int, ok bool) {
	fwd, ok := reach(a, b)
	if !ok {
		return nil, 0, false
	}
	bwd, _ := reach(reversed(a), reversed(b))
	d := len(fwd) - 1
	kept = (len(a) + len(b) - d) / 2
	s := &scripts{a: a, b: b, fwd: fwd, bwd: bwd, count: make([]int, kept), at: make([]pair, kept)}
	for i := range d + 1 {
		for k := -i; k <= i; k += 2 {
			if !s.along(i, k) {
				return nil, 0, false
			}
		}
	}
	for r, n := range s.count {
		if n == 1 {
			pairs = append(pairs, s.at[r])
		}
	}
	return pairs, kept, true
}

// furthest is, for one number of edits, how far each diagonal can be followed:
// the line of a that is reached on diagonal k is at k plus the number of edits;
// -1 where the diagonal is not reached. Every other one is unused.
type furthest []int

func (f furthest) on(k int) int {
	if i := k + len(f)/2; i >= 0 && i < len(f) {
		return f[i]
	}
	return -1
}

// reach follows all diagonals with one edit more at a time until the end is
// reached; its result has one element for each number of edits.
func reach(a, b []int) (all []furthest, ok bool) {
	for d := 0; d <= maxEdits; d++ {
		f := make(furthest, 2*d+1)
		for i := range f {
			f[i] = -1
		}
		for k := -d; k <= d; k += 2 {
			x := step(all, d, k, len(a), len(b))
			for x >= 0 && x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			f[k+d] = x
		}
		all = append(all, f)
		if end := len(a) - len(b); end >= -d && end <= d && f.on(end) == len(a) {
			return all, true
		}
	}
	return nil, false
}

// step is where diagonal k is entered with the d-th edit, or how far it was
// followed before; -1 where it is not reached.
func step(all []furthest, d, k, lenA, lenB int) int {
	if d == 0 {
		return 0
	}
	x := -1
	if d >= 2 {
		x = all[d-2].on(k)
	}
	if del := all[d-1].on(k - 1); del >= 0 && del < lenA {
		x = max(x, del+1)
	}
	if add := all[d-1].on(k + 1); add >= 0 && add-k <= lenB {
		x = max(x, add)
	}
	return x
}

// scripts counts, for each rank, the pairs that some shortest script keeps.
type scripts struct {
	a, b     []int
	fwd, bwd []furthest
	count    []int
	at       []pair
	steps    int
}

// along looks at the points of diagonal k that are d edits from the start and
// as far from the end as makes a shortest script. It is false when that takes
// too long.
func (s *scripts) along(d, k int) bool {
	back, end := len(s.fwd)-1-d, len(s.a)-len(s.b)-k
	lo, hi := max(0, k), s.fwd[d].on(k)
	if d >= 2 {
		lo = max(lo, s.fwd[d-2].on(k)+1)
	}
	reached := s.bwd[back].on(end)
	if hi < 0 || reached < 0 {
		return true
	}
	lo = max(lo, len(s.a)-reached)
	if back >= 2 {
		if nearer := s.bwd[back-2].on(end); nearer >= 0 {
			hi = min(hi, len(s.a)-nearer-1)
		}
	}
	for x := lo; x < hi; x++ {
		if s.a[x] == s.b[x-k] {
			rank := (x + x - k - d) / 2
			s.count[rank]++
			s.at[rank] = pair{a: x, b: x - k, rank: rank}
		}
	}
	s.steps += max(0, hi-lo)
	return s.steps <= maxSteps
}

func reversed(list []int) []int {
	out := make([]int, len(list))
	for i, v := range list {
		out[len(list)-1-i] = v
	}
	return out
}
