// Package baseline is what was agreed to be good: a deployment that was verified,
// written down in the config repository as baselines/NAME.yaml. It says whether a
// deployment may become one ([Candidate]) and when it does by itself
// ([Automatic]), what the ledger says of one ([Recorded]), what every witness does
// ([Verify]), and how two differ ([Components], [Disagreements]). The file itself
// is read and written by package configrepo.
//
// Everyone who can push can write such a file, so it proves nothing by itself:
// what it names is believed only as far as the ledger and the branch bear it out.
// All of this is pure: no clock, no Git, no targets, no drivers. Why it is like
// that is in docs/design/0016-baselines.md.
package baseline
