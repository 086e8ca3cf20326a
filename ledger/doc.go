// Package ledger keeps what happened: deployments with their traces, locks and
// holds, as validated transitions on one Git ref per environment. Start with
// [Book] (everything known of one environment), [Event] (what may happen to
// it) and [Ledger.Append], the only way to write.
//
// The invariant: the present is a function of the transitions. [Book.Apply] is
// pure, refuses what is not allowed, and a transition is stored only by a
// compare-and-swap from the very state it was applied to. Locks live in that
// state, so that whoever lost a lock can not write any more. The stored form
// is described in docs/ledger-format.md.
//
// The package knows neither targets nor plans nor the engine that drives them.
package ledger
