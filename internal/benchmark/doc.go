// Package benchmark measures what the design promises, on a generated config
// repository of 50,000 commits and 2,000 environments, with the git command
// beside it: `make bench`. It has no code of its own outside its tests.
package benchmark
