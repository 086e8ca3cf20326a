// Package imagetree is the file tree of an image in memory: which names there
// are, and where a path leads when symbolic links are followed as in a chroot.
// Start with [Tree]; [ParseName] and [ParseTarget] let names in.
//
// The invariant: no path of a tree, and no target that [Tree.Target] returns,
// leaves the image's root. The package does no I/O and knows nothing of
// archives, layers' formats or registries.
package imagetree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stella-ops/stella"
)

// Kind is what a node is.
type Kind uint8

// The kinds.
const (
	Dir     Kind = iota + 1
	File         // a regular file
	Symlink      // Target says where to
	Other        // a device node, a FIFO
)

// Node is one name in a tree.
type Node struct {
	Kind   Kind
	Target string // of a Symlink, as the archive has it
	Layer  int    // the layer that put it there, or a name below it first
	Data   int    // the caller's
	// Made is set on directories that no entry named, only something below them.
	Made bool

	name      string
	parent    *Node // nil for the root
	children  map[string]*Node
	pathBytes int
	depth     int
}

// Tree is a file tree. It is not safe for concurrent use.
type Tree struct {
	root        *Node
	nodes       int
	textBytes   int
	mostNodes   int
	mostTextBuf int
}

// maxTextBytes bounds what the names and targets of a tree take in memory:
// names alone may be 4 KiB each. Images have about 30 bytes a node.
const maxTextBytes = 64 << 20

// New returns a tree of a root directory that takes at most maxNodes names.
func New(maxNodes int) *Tree {
	return &Tree{
		root:      &Node{Kind: Dir, Made: true, children: map[string]*Node{}},
		mostNodes: maxNodes, mostTextBuf: maxTextBytes,
	}
}

// Root returns the root directory.
func (t *Tree) Root() *Node { return t.root }

// Path returns the node's path below the root, without symbolic links in it;
// "." for the root.
func (n *Node) Path() string {
	if n.parent == nil {
		return "."
	}
	return strings.Join(n.parts(), "/")
}

func (n *Node) parts() []string {
	parts := make([]string, n.depth)
	for ; n.parent != nil; n = n.parent {
		parts[n.depth-1] = n.name
	}
	return parts
}

// Parent returns the directory that n is in; the root is its own.
func (n *Node) Parent() *Node { return n.up() }

// Child returns what the directory n has under the name, or nil.
func (n *Node) Child(name string) *Node { return n.children[name] }

// Children returns what the directory n has, by name.
func (n *Node) Children() []*Node {
	all := make([]*Node, 0, len(n.children))
	for _, c := range n.children {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Node) int { return strings.Compare(a.name, b.name) })
	return all
}

// Put adds n to the directory under a name that is free there.
func (t *Tree) Put(dir *Node, name string, n Node) (*Node, error) {
	n.name, n.parent, n.children = strings.Clone(name), dir, nil
	n.Target = strings.Clone(n.Target)
	n.depth, n.pathBytes = dir.depth+1, dir.pathBytes+1+len(name)
	if n.Kind == Dir {
		n.children = map[string]*Node{}
	}
	t.nodes++
	t.textBytes += len(name) + len(n.Target)
	switch {
	case dir.Kind != Dir:
		return nil, badName(dir.Path(), "is not a directory")
	case dir.children[name] != nil:
		return nil, badName(n.Path(), "is there twice")
	case n.depth > MaxDepth || n.pathBytes > maxPathBytes:
		return nil, badName(n.Path(), "is too deep")
	case t.nodes > t.mostNodes:
		return nil, fmt.Errorf("%w: more than %d names", stella.ErrInvalid, t.mostNodes)
	case t.textBytes > t.mostTextBuf:
		return nil, fmt.Errorf("%w: names of more than %d bytes", stella.ErrInvalid, t.mostTextBuf)
	}
	dir.children[n.name] = &n
	return &n, nil
}

// Remove takes n and all below it out of the tree. The root stays. What was
// once put still counts towards the bounds.
func (t *Tree) Remove(n *Node) {
	if n.parent != nil {
		delete(n.parent.children, n.name)
	}
}

// RemoveBelow takes everything of layers before the given one out of the
// directory n. A directory of a lower layer stays while it holds something of
// this one.
func (t *Tree) RemoveBelow(n *Node, layer int) {
	for _, c := range n.children {
		if c.Kind == Dir {
			t.RemoveBelow(c, layer)
		}
		if c.Layer < layer && len(c.children) == 0 {
			t.Remove(c)
		}
	}
}

// Dir returns the directory at the path, following symbolic links as in a
// chroot: an absolute target starts at the root, and nothing climbs above it.
// Directories that are missing are made for the layer.
func (t *Tree) Dir(parts []string, layer int) (*Node, error) {
	return t.walk(parts, func(dir *Node, name string) (*Node, error) {
		return t.Put(dir, name, Node{Kind: Dir, Layer: layer, Made: true})
	})
}

// Lookup returns the node at the path. Symbolic links are followed on the way,
// not at its end. Nil means that there is none.
func (t *Tree) Lookup(parts []string) *Node {
	if len(parts) == 0 {
		return t.root
	}
	dir, err := t.walk(parts[:len(parts)-1], func(*Node, string) (*Node, error) { return nil, stella.ErrNotFound })
	if err != nil {
		return nil
	}
	return dir.children[parts[len(parts)-1]]
}

func (t *Tree) walk(parts []string, missing func(*Node, string) (*Node, error)) (*Node, error) {
	at, links := t.root, 0
	for rest := parts; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = at.up()
		}
		if part == "" || part == "." || part == ".." {
			continue
		}
		next := at.children[part]
		if next == nil {
			made, err := missing(at, part)
			if err != nil {
				return nil, err
			}
			next = made
		}
		switch next.Kind {
		case Dir:
			at = next
		case Symlink:
			if links++; links > maxLinks {
				return nil, badName(strings.Join(parts, "/"), "leads through too many symbolic links")
			}
			at, rest = next.follow(rest)
		default:
			return nil, badName(next.Path(), "is not a directory")
		}
	}
	return at, nil
}

// follow returns where the target of a symbolic link starts, and the parts to
// walk from there.
func (n *Node) follow(rest []string) (start *Node, parts []string) {
	start = n.parent
	if strings.HasPrefix(n.Target, "/") {
		for start.parent != nil {
			start = start.parent
		}
	}
	return start, append(strings.Split(n.Target, "/"), rest...)
}

func (n *Node) up() *Node {
	if n.parent == nil {
		return n // as in a chroot: the root is its own parent
	}
	return n.parent
}

// Empty reports whether the node has nothing below it.
func (n *Node) Empty() bool { return len(n.children) == 0 }
