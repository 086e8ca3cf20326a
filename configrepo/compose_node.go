package configrepo

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// The tags of the Compose Specification for merging files, and YAML's key for
// merging mappings.
const (
	resetTag    = "!reset"
	overrideTag = "!override"
	mergeTag    = "!!merge"
	mergeKey    = "<<"
)

// isMerge reports whether a key merges another mapping into its own.
func isMerge(key *yaml.Node) bool { return key.Tag == mergeTag && key.Value == mergeKey }

// field is one entry of a mapping, as a reader sees it.
type field struct {
	key   *yaml.Node
	value *yaml.Node // never an alias
}

// fields returns the entries of a mapping, those that it merges in included. What
// is written wins over what is merged in, and of that the first. What is
// reset is left out. Anything but a mapping has no fields.
func fields(n *yaml.Node) []field {
	var all []field
	collectFields(n, map[string]bool{}, &all)
	return all
}

func collectFields(n *yaml.Node, seen map[string]bool, all *[]field) {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], target(n.Content[i+1])
		switch {
		case isMerge(key):
			merged = append(merged, value)
		case !seen[key.Value]:
			seen[key.Value] = true
			if value.Tag != resetTag {
				*all = append(*all, field{key, value})
			}
		}
	}
	for _, m := range merged {
		for _, one := range items(m) {
			collectFields(one, seen, all)
		}
	}
}

// child returns the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	for _, f := range fields(n) {
		if f.key.Value == key {
			return f.value
		}
	}
	return nil
}

// items returns the elements of a sequence; anything else is its own and only
// element, nil has none.
func items(n *yaml.Node) []*yaml.Node {
	n = target(n)
	if n == nil || n.Tag == resetTag {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return []*yaml.Node{n}
	}
	all := make([]*yaml.Node, 0, len(n.Content))
	for _, c := range n.Content {
		if c = target(c); c.Tag != resetTag {
			all = append(all, c)
		}
	}
	return all
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// find follows a path of keys as far as it goes and returns the last node and
// the field that it is.
func find(root *yaml.Node, path ...string) (n *yaml.Node, name string) {
	n = root
	for _, key := range path {
		next := child(n, key)
		if next == nil {
			return n, name
		}
		n, name = next, joinField(name, key)
	}
	return n, name
}

// findDotted is find for a path as a loader prints it: "services.web.image",
// where keys may hold dots.
func findDotted(root *yaml.Node, dotted string) (n *yaml.Node, name string) {
	n = root
	for dotted != "" {
		next, key := longestChild(n, dotted)
		if next == nil {
			return n, name
		}
		n, name = next, joinField(name, key)
		dotted = strings.TrimPrefix(strings.TrimPrefix(dotted, key), ".")
	}
	return n, name
}

func longestChild(n *yaml.Node, dotted string) (value *yaml.Node, key string) {
	for _, f := range fields(n) {
		k := f.key.Value
		if (k == dotted || strings.HasPrefix(dotted, k+".")) && len(k) > len(key) {
			value, key = f.value, k
		}
	}
	return value, key
}
