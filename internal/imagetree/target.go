package imagetree

import (
	"slices"
	"strings"
)

// Target returns the target to give the symbolic link n on disk: one that leads
// to the same place inside a chroot and in place, and that never leaves the
// root in either. Relative targets that are safe as they are stay as they are.
// Absolute ones become relative, and climbing ends at the root, as it does in
// a chroot.
//
// The form is what makes it safe: as many ".." as there are directories above
// the link at most, then names only. The link's own directory is reached
// without symbolic links, so that the climbing is what it seems; the names may
// lead through other links, of the same form.
func (t *Tree) Target(n *Node) string {
	if safeInPlace(n.Target, n.parent.depth) {
		return n.Target
	}
	return relative(n.parent.parts(), t.resolve(n))
}

func safeInPlace(target string, depth int) bool {
	if strings.HasPrefix(target, "/") {
		return false
	}
	ups, named := 0, false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if ups++; named || ups > depth {
				return false
			}
		default:
			named = true
		}
	}
	return true
}

// resolve returns where the link leads, as parts below the root. Links on the
// way are followed only where the target climbs again after them; the rest is
// left for whoever opens it. Where the tree ends, or goes round in circles, the
// parts are taken as they are written.
func (t *Tree) resolve(n *Node) []string {
	at, rest := n.follow(nil)
	var beyond []string // names after the last directory that was looked at
	links, climbs := 1, climbing(rest)
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			climbs--
		}
		switch {
		case part == "" || part == ".":
		case part == ".." && len(beyond) > 0:
			beyond = beyond[:len(beyond)-1]
		case part == "..":
			at = at.up()
		case len(beyond) > 0 || climbs == 0:
			beyond = append(beyond, part)
		default:
			next := at.children[part]
			switch {
			case next != nil && next.Kind == Dir:
				at = next
			case next != nil && next.Kind == Symlink && links < maxLinks:
				links++
				at, rest = next.follow(rest)
				climbs = climbing(rest)
			default:
				beyond = append(beyond, part)
			}
		}
	}
	return append(at.parts(), beyond...)
}

func climbing(parts []string) int {
	n := 0
	for _, part := range parts {
		if part == ".." {
			n++
		}
	}
	return n
}

// relative returns the path from one directory to another place, both as parts
// below the same root.
func relative(from, to []string) string {
	same := 0
	for same < len(from) && same < len(to) && from[same] == to[same] {
		same++
	}
	parts := slices.Repeat([]string{".."}, len(from)-same)
	parts = append(parts, to[same:]...)
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}
