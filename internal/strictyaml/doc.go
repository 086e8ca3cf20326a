// Package strictyaml reads a YAML file that people write and programs trust: one
// document, no anchors, aliases, tags or merge keys, no unknown, duplicate or
// missing field, and nothing that one reader takes for a number and another for
// text. Everything that is wrong with a file is found at once, with its line.
//
// Start with [Parse], which gives a [Doc], and [Read], which holds it against a
// [Shape]. A Shape checks, converts and describes itself as JSON Schema, so that
// what is read and what is published can not differ.
//
// The invariant: whatever the bytes are, time and memory are bounded, and no
// problem quotes a value of the file. The package knows no kind of file.
package strictyaml
