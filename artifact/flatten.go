package artifact

import (
	"archive/tar"
	"io"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/imagetree"
	"github.com/stella-ops/stella/internal/safe"
)

// flattener lays the layers of an image over each other, from the lowest up,
// as a container runtime does: an entry replaces what has its name, a path
// through a symbolic link leads where the link does, whiteouts take away what
// lower layers brought (OCI image specification, layer.md). Only names and
// places are kept, not contents.
//
// mutate.Extract does it from the top down, and so can not follow links of
// lower layers, nor give a hard link the content that its name had when it was
// made.
type flattener struct {
	tree  *imagetree.Tree
	files []source // Node.Data is an index into it
	layer int
	entry int
	// wiped holds the layer that last took everything below it out of a
	// directory: a second time there is nothing left, and must cost nothing.
	wiped map[*imagetree.Node]int
}

// source is where the content of a file is.
type source struct {
	layer, entry int // entry counts all of the layer's
	kind         byte
	mode         int64
	size         int64
	modTime      int64 // seconds after 1970
}

func newFlattener(most int) *flattener {
	return &flattener{tree: imagetree.New(most), wiped: map[*imagetree.Node]int{}}
}

// add lays the next layer over those before it. Reading it to its end verifies
// it.
func (f *flattener) add(u *unpacked) error {
	f.entry = 0
	err := u.entries(func(h *tar.Header, _ io.Reader) error {
		err := f.apply(h)
		f.entry++
		return err
	})
	f.layer++
	return err
}

func (f *flattener) apply(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parts, err := imagetree.ParseLayerName(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return problem(stella.ErrInvalid, "the root is not a directory")
		}
		return nil
	}
	name := parts[len(parts)-1]
	if strings.HasPrefix(parts[0], ".wh..wh.") && parts[0] != opaque {
		return nil // what aufs kept for itself
	}
	for _, part := range parts[:len(parts)-1] {
		if strings.HasPrefix(part, ".wh.") {
			return problem(stella.ErrInvalid, "a whiteout that is a directory")
		}
	}
	dir, err := f.tree.Dir(parts[:len(parts)-1], f.layer)
	if err != nil {
		return err
	}
	if name == opaque {
		f.wipe(dir)
		return nil
	}
	if hidden, found := strings.CutPrefix(name, ".wh."); found {
		return f.whiteout(dir, hidden)
	}
	return f.put(dir, name, h)
}

func (f *flattener) put(dir *imagetree.Node, name string, h *tar.Header) error {
	node := imagetree.Node{Layer: f.layer}
	switch h.Typeflag {
	case tar.TypeDir:
		if old := dir.Child(name); old != nil && old.Kind == imagetree.Dir {
			old.Layer, old.Made = f.layer, false
			return nil
		}
		node.Kind = imagetree.Dir
	case tar.TypeReg:
		if strings.HasSuffix(h.Name, "/") || isSparse(h) {
			return problem(stella.ErrInvalid, "a sparse file, or one with the name of a directory")
		}
		node.Kind, node.Data = imagetree.File, f.source(h)
	case tar.TypeSymlink:
		if err := imagetree.ParseTarget(h.Linkname); err != nil {
			return err
		}
		node.Kind, node.Target = imagetree.Symlink, h.Linkname
	case tar.TypeLink:
		to, err := f.linked(h.Linkname, dir.Child(name))
		if err != nil {
			return err
		}
		node.Kind, node.Data, node.Target = to.Kind, to.Data, to.Target
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		node.Kind, node.Data = imagetree.Other, f.source(h)
	default:
		return problem(stella.ErrInvalid, "entries of type %q are not accepted", h.Typeflag)
	}
	if old := dir.Child(name); old != nil {
		f.tree.Remove(old)
	}
	_, err := f.tree.Put(dir, name, node)
	return err
}

func (f *flattener) source(h *tar.Header) int {
	f.files = append(f.files, source{
		layer: f.layer, entry: f.entry, kind: h.Typeflag, mode: h.Mode & 0o777, size: h.Size, modTime: h.ModTime.Unix(),
	})
	return len(f.files) - 1
}

// linked returns what a hard link names. A link to a symbolic link, which
// layers made from a file system with such in it hold, is another one.
func (f *flattener) linked(target string, self *imagetree.Node) (*imagetree.Node, error) {
	parts, err := imagetree.ParseLayerName(target)
	if err != nil {
		return nil, err
	}
	to := f.tree.Lookup(parts)
	if to == nil || to == self || to.Kind != imagetree.File && to.Kind != imagetree.Symlink {
		return nil, problem(stella.ErrInvalid, "a hard link to %q, which is no file that came before it", safe.Clip(target, 80))
	}
	return to, nil
}

// opaque is the name that hides all that lower layers have in its directory.
const opaque = ".wh..wh..opq"

// whiteout takes away what lower layers have under a name. It does nothing to
// what this layer brings itself.
func (f *flattener) whiteout(dir *imagetree.Node, name string) error {
	if name == "" || name == "." || name == ".." || strings.HasPrefix(name, ".wh.") {
		return problem(stella.ErrInvalid, "a whiteout of nothing that has a name")
	}
	node := dir.Child(name)
	if node == nil {
		return nil
	}
	if node.Kind == imagetree.Dir {
		f.wipe(node)
	}
	if node.Layer < f.layer && node.Empty() {
		f.tree.Remove(node)
	}
	return nil
}

func (f *flattener) wipe(dir *imagetree.Node) {
	if last, done := f.wiped[dir]; done && last == f.layer {
		return
	}
	f.wiped[dir] = f.layer
	f.tree.RemoveBelow(dir, f.layer)
}

func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
