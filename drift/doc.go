// Package drift says where two states differ. It is the only place that knows:
// the plan, the diff of an environment, drift detection and verification all
// use [Compare], with the same rules of what does not count ([Ignore]) and how
// much a difference matters.
//
// Everything in it is a pure function of its arguments: no clock, no I/O, no
// log. Secret values never leave it: what is secret in either state reads
// [stella.SecretChanged] in a difference. When to look is a [Schedule]. It knows
// nothing of drivers or Git. Why it compares as it does is in
// docs/design/0011-comparison.md.
package drift
