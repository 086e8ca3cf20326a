package drift

import "github.com/stella-ops/stella"

// secretNode is a tree of the pointers of one resource that lead to secrets; a
// nil node has none at or below it.
type secretNode struct {
	secret bool
	below  map[string]*secretNode
}

// secretTree takes what either side calls a secret. A pointer that is not
// valid makes the whole resource secret: it was meant to hide something.
func secretTree(sides ...[]string) *secretNode {
	var root *secretNode
	for _, pointers := range sides {
		for _, p := range pointers {
			if root == nil {
				root = &secretNode{}
			}
			segments, err := ParsePointer(p)
			if err != nil {
				segments = nil
			}
			root.add(segments)
		}
	}
	return root
}

func (n *secretNode) add(segments []string) {
	for _, s := range segments {
		if n.below == nil {
			n.below = map[string]*secretNode{}
		}
		if n.below[s] == nil {
			n.below[s] = &secretNode{}
		}
		n = n.below[s]
	}
	n.secret = true
}

func (n *secretNode) child(segment string) *secretNode {
	if n == nil {
		return nil
	}
	return n.below[segment]
}

// opaque reports whether a value here is compared and shown as one: it is a
// secret, or it has one inside and is not a map. Elements move within a list,
// so that an index says nothing about where the other side has the secret.
func (n *secretNode) opaque(v any) bool {
	if n == nil {
		return false
	}
	_, isMap := v.(map[string]any)
	return n.secret || !isMap
}

// show returns v as it may be seen, and whether something in it was hidden.
// What has no secrets is returned as is, not copied.
func (n *secretNode) show(v any) (shown any, hidden bool) {
	switch {
	case n == nil:
		return v, false
	case n.opaque(v):
		return stella.SecretChanged, true
	}
	m, _ := v.(map[string]any)
	out := make(map[string]any, len(m))
	for k, val := range m {
		s, h := n.below[k].show(val)
		out[k] = s
		hidden = hidden || h
	}
	return out, hidden
}

// Redact returns the resource as it may be shown: values that its Secrets name
// are replaced by stella.SecretChanged. The resource itself is not changed.
func Redact(r stella.Resource) stella.Resource {
	n := secretTree(r.Secrets)
	if n == nil {
		return r
	}
	if n.secret {
		r.Fields = map[string]any{}
		return r
	}
	shown, _ := n.show(r.Fields)
	r.Fields, _ = shown.(map[string]any)
	return r
}
