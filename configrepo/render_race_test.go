//go:build race

package configrepo

// raceFactor is how much more time and memory the race detector may take.
const raceFactor = 10
