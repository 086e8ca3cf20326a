// Package benchmark measures what the design promises: the time to roll back, on
// real targets of this machine, and Git's part of it, on a generated config
// repository of 50,000 commits and 2,000 environments with the git command
// beside it: `make bench`, docs/performance.md. It has no code of its own outside its tests.
package benchmark
