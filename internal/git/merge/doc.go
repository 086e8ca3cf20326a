// Package merge undoes one change of a directory and keeps what came after it,
// as `git revert` does: a three-way merge with what the change left as base,
// what there is now as ours and what there was before it as theirs. Start with
// [Undo], which merges directories, and [Lines], which merges one text.
//
// It keeps two things true. What git would call a conflict is one here. And
// nothing is undone by half in silence: every path that the change touched is
// back as it was, is a clean merge, was back already, or is a [Conflict].
// [Result.Proves] checks that of the directory that was made from a result.
//
// It is stricter than git where undoing would be a guess; see [Why]. It follows
// no renames, and where .gitattributes may ask for another way to merge it does
// not merge at all ([Attributes], [Limits.NoLines]).
//
// It only reads, through [Tree], and knows nothing of environments, commits or
// remotes.
package merge
