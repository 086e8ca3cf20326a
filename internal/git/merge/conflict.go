package merge

import "fmt"

// Why is the reason of a conflict. Those that git does not have are said to be
// stricter.
type Why string

// The reasons.
const (
	// WhyLines: both sides changed lines that touch. Stricter where a hunk is
	// Ambiguous: a change that could as well stand at another place touches what
	// is at either place.
	WhyLines Why = "lines"
	// WhyBinary: both sides changed a file that has a NUL. Git looks for one in
	// the first 8,000 bytes only; further down this is stricter.
	WhyBinary Why = "binary"
	// WhySize: both sides changed a file that is too big, or in so many lines that
	// git's own search is a guess. Stricter.
	WhySize Why = "size"
	// WhyAttributes: both sides changed a file, and the repository's attributes
	// may want another way to merge it. Stricter where they do not.
	WhyAttributes Why = "attributes"
	// WhyKind: both sides changed a path and it is not a regular file on each of
	// them. Stricter: git merges what both have made of a symbolic link.
	WhyKind Why = "kind"
	// WhyLink: undoing would bring a symbolic link or a submodule back, which no
	// app may have. Stricter.
	WhyLink Why = "link"
	// WhyGone: the change added it and it is gone: who moved it elsewhere would
	// not see it undone. Stricter: to git it is undone.
	WhyGone Why = "gone"
	// WhyAdded: the change deleted it, and something else is there now. Stricter
	// where one of the two is an empty file.
	WhyAdded Why = "added"
	// WhyDeleted: the change modified it, and it was deleted later.
	WhyDeleted Why = "deleted"
	// WhyModified: the change added it, and it was modified later.
	WhyModified Why = "modified"
	// WhyDirectory: undoing needs a file where a directory is now, or the other
	// way round.
	WhyDirectory Why = "directory"
)

// Conflict is a path that can not be undone.
type Conflict struct {
	Path string // untrusted text
	Why  Why
	// Hunks are the places that conflict, with WhyLines.
	Hunks []Hunk
	// Other is another path that it is about: where what the change added was
	// moved to, or what is in the way. Empty for none.
	Other string
}

// String says what is the matter, in words. The paths in it are untrusted text.
func (c Conflict) String() string {
	switch c.Why {
	case WhyLines:
		return fmt.Sprintf("%s: lines that it changed were changed again, or lines next to them", c.Path)
	case WhyBinary:
		return c.Path + ": was changed again, and is not text that could be merged"
	case WhySize:
		return c.Path + ": was changed again, and is too big or too different to be merged by line"
	case WhyAttributes:
		return c.Path + ": was changed again, and .gitattributes may ask for another way to merge it"
	case WhyKind:
		return c.Path + ": was changed again, and is not a regular file throughout"
	case WhyLink:
		return c.Path + ": would be a symbolic link or a submodule again"
	case WhyGone:
		if c.Other != "" {
			return fmt.Sprintf("%s: it added it, and it was moved to %s", c.Path, c.Other)
		}
		return c.Path + ": it added it, and it is gone: moved, perhaps"
	case WhyAdded:
		return c.Path + ": it deleted it, and something else was put there since"
	case WhyDeleted:
		return c.Path + ": it changed it, and it was deleted since"
	case WhyModified:
		return c.Path + ": it added it, and it was changed since"
	case WhyDirectory:
		return fmt.Sprintf("%s: %s is in the way", c.Path, c.Other)
	}
	return c.Path + ": conflict"
}
