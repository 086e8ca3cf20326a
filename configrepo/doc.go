// Package configrepo says what is wanted: it reads a config repository strictly
// from a [Tree], renders the app of an environment and edits release.yaml
// without touching a byte that it does not change.
//
// Start with [ReadProject], [Environments], [ReadEnvironment] and [ReadRelease]
// (files of ours), [Render] (what the targets should run), [Validate] (everything
// at once) and [SetRelease] (an edit). What is wrong with a file is reported as
// [Problems]: all of them, each with file, line, column and field.
//
// The invariant: a repository is input from everyone who can open a pull
// request, so whatever is in it is read within bounded time and memory or
// refused with a [Problem], and nothing of it is executed, followed out of the
// tree or written to an error unescaped.
//
// The package knows nothing of Git, targets, registries or the ledger.
package configrepo
