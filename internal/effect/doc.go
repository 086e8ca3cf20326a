// Package effect is the seam through which everything passes that changes the
// world outside this process: a push, a file that is put in place, a process
// that is started or stopped. Start with [Do]. In a binary as it is released Do
// only calls the function and nothing in the environment changes that; built
// with the tag "faults" it can kill the process before and after each effect,
// fail it, or lose its answer (docs/design/0008-one-seam-for-effects.md). It
// knows nothing of what it is given and depends on nothing.
package effect
