// Package reconciler brings environments to what their config repository says:
// it reads a commit, compares it with what runs, plans, applies in batches,
// verifies, records, and goes back when verification says no. Start with
// [Engine]; [Plan] is the pure middle of it and [Target] what it needs from a
// driver.
//
// Every deployment is intent, effect, outcome: the ledger knows of it before
// anything is touched and again after it was observed. Whoever holds the
// environment's lock applies; the daemon, the command line and CI run this same
// engine. It knows no driver and no terminal: it speaks in [Event]s.
package reconciler
