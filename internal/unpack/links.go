package unpack

import "github.com/stella-ops/stella/internal/imagetree"

type hardlink struct{ node, to *imagetree.Node }

func (u *unpacker) symlink(dir *imagetree.Node, name, target string) error {
	if err := imagetree.ParseTarget(target); err != nil {
		return err
	}
	n, err := u.tree.Put(dir, name, imagetree.Node{Kind: imagetree.Symlink, Target: target})
	if err != nil {
		return err
	}
	u.soft = append(u.soft, n)
	return nil
}

func (u *unpacker) hardlink(dir *imagetree.Node, name, target string) error {
	parts, err := imagetree.ParseName(target)
	if err != nil {
		return err
	}
	to := u.tree.Lookup(parts)
	// A hard link to a symbolic link would be one (CVE-2026-50162 in oras-go).
	if to == nil || to.Kind != imagetree.File {
		return refuse("a hard link must name a regular file that came before it")
	}
	n, err := u.tree.Put(dir, name, imagetree.Node{Kind: imagetree.File})
	if err != nil {
		return err
	}
	u.hard = append(u.hard, hardlink{node: n, to: to})
	return nil
}

// links makes all links, now that nothing else is written. Every one lies in a
// directory that was reached without links.
func (u *unpacker) links() error {
	for _, l := range u.hard {
		if err := u.mkdir(l.node.Parent()); err != nil {
			return err
		}
		if err := u.root.Link(l.to.Path(), l.node.Path()); err != nil {
			return err
		}
		u.stats.Hardlinks++
	}
	for _, n := range u.soft {
		if err := u.mkdir(n.Parent()); err != nil {
			return err
		}
	}
	for _, n := range u.soft {
		if err := u.root.Symlink(u.tree.Target(n), n.Path()); err != nil {
			return err
		}
		u.stats.Symlinks++
	}
	return nil
}
