// Package baseline is what was agreed to be good: a deployment that was verified,
// written down in the config repository as baselines/NAME.yaml. It says whether a
// deployment may become one ([Candidate]), writes the file ([Encode]), judges what
// witnesses say of it ([Disagreements], [Verify]) and compares ([Compare]).
//
// Everyone who can push can write such a file, so it proves nothing by itself:
// what it names is believed only as far as the ledger and the branch bear it out.
// All of this is pure: no clock, no Git, no targets, no drivers.
package baseline
