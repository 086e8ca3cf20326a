// Package git reads and writes a remote repository without ever checking it
// out. Start with [Open] and [Repo]; [Tree] reads a commit, [Repo.Build] makes
// a new one, and [Repo.Push] is the only way anything gets to the remote.
//
// The remote's refs are the only truth. What is on disk is a cache that several
// processes share, that may be deleted at any time and that is fetched again
// when it is damaged; only the file of last-seen heads beside it is worth
// keeping: a head that does not descend from the last one seen is an alarm
// ([RewoundError]), not an update. A push always names the value that it
// replaces, so that of two writers exactly one wins.
//
// Of go-git only the formats are used (packs, indexes, pkt-lines, messages):
// its sessions can not be bounded or cancelled, its storage can not be shared,
// and its Push is not a compare-and-swap. Nothing else in the module imports
// go-git. The package knows nothing of environments, releases or ledgers.
package git
