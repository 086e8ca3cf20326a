// Package cli is the command line: it parses, asks the engine one question and
// renders the answer. Start with [Main] and [Process]; App is what commands
// share, view what they print, and exitcode.go the only place that knows exit
// codes.
//
// The invariants: stdout carries data only, and one whole document of it or
// nothing; stderr carries progress, errors and the next command to run; nothing
// that came from outside is written without internal/safe; --help takes no lock
// and touches nothing. The package decides nothing about environments: that is
// the engine's, and only targets.go knows which drivers there are.
package cli
