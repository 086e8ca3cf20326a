// Package artifact gets images out of OCI registries. Start with [Client]:
// Resolve pins a tag to its digest, Check proves that every part of an image is
// still there, Pull brings an [Image] to this machine.
//
// The invariant: nothing of an image is used before every byte of it, to the
// end of every stream, has been compared with a digest that starts at the one
// the caller named. The package knows nothing of environments, ledgers or
// targets.
package artifact
