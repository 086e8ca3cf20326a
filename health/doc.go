// Package health asks running environments whether they work: [Check] is one
// question, [Runner] asks them all, and [Runner.Verify] waits until everything
// is healthy and has stayed so.
//
// A result is an observation, never an inference: what could not be asked is
// not OK. Answers come from outside, so that every read is bounded and every
// text escaped. The package knows no driver and no configuration file.
package health
