package artifact

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stella-ops/stella/internal/imagetree"
)

// Files returns the image's file system as one tar stream, with the layers laid
// over each other: directories first, then regular files with hard links right
// after what they name, then symbolic links with the targets that the layers
// give, then device nodes. Every name is there once and leads through no link.
// The same image gives the same bytes.
//
// The layers are verified once more while they are read: only a reader that
// came to io.EOF has read the image. Close must be called, and waits until the
// files are closed; it may be called early.
func (i *Image) Files(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	s := &stream{PipeReader: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		w.CloseWithError(i.write(ctx, w)) // nil is io.EOF
	}()
	return s, nil
}

type stream struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (s *stream) Close() error {
	err := s.PipeReader.Close()
	s.cancel()
	<-s.done
	return err
}

func (i *Image) write(ctx context.Context, w io.Writer) error {
	p := planFiles(i.content)
	buffered := bufio.NewWriterSize(w, 256<<10)
	tw := tar.NewWriter(buffered)
	for _, n := range p.dirs {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: n.Path() + "/", Mode: 0o755, Format: tar.FormatPAX}); err != nil {
			return err
		}
	}
	for at, l := range i.layers {
		if err := p.writeLayer(ctx, tw, at, l); err != nil {
			return fmt.Errorf("%s: layer %s: %w", i.Artifact, l.want.Digest.Short(), err)
		}
	}
	for _, n := range p.links {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: n.Path(), Linkname: n.Target, Mode: 0o777, Format: tar.FormatPAX}); err != nil {
			return err
		}
	}
	for _, n := range p.others {
		h := p.files[n.Data].header(n.Path())
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), buffered.Flush())
}

// filesPlan is what to write of an image, in which order.
type filesPlan struct {
	dirs, links, others []*imagetree.Node // by path
	files               []source
	names               [][]string // by index of source: the paths that have it
	buf                 []byte
}

func planFiles(f *flattener) *filesPlan {
	p := &filesPlan{files: f.files, names: make([][]string, len(f.files)), buf: make([]byte, 128<<10)}
	p.walk(f.tree.Root())
	return p
}

func (p *filesPlan) walk(dir *imagetree.Node) {
	for _, n := range dir.Children() {
		switch n.Kind {
		case imagetree.Dir:
			p.dirs = append(p.dirs, n)
			p.walk(n)
		case imagetree.File:
			p.names[n.Data] = append(p.names[n.Data], n.Path())
		case imagetree.Symlink:
			p.links = append(p.links, n)
		case imagetree.Other:
			p.others = append(p.others, n)
		}
	}
}

// writeLayer writes the files whose content one layer has. Sources are in the
// order of the archives, so that both are gone through once.
func (p *filesPlan) writeLayer(ctx context.Context, tw *tar.Writer, at int, l layer) (err error) {
	u, err := l.open(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	next, _ := slices.BinarySearchFunc(p.files, at, func(s source, at int) int { return cmp.Compare(s.layer, at) })
	entry := -1
	return u.entries(func(h *tar.Header, body io.Reader) error {
		entry++
		if next >= len(p.files) || p.files[next].layer != at || p.files[next].entry != entry {
			return nil
		}
		src := p.files[next]
		names := p.names[next]
		next++
		if len(names) == 0 || src.kind != tar.TypeReg {
			return nil
		}
		return p.copy(tw, src, names, body)
	})
}

func (s source) header(path string) *tar.Header {
	return &tar.Header{Typeflag: s.kind, Name: path, Mode: s.mode, Size: s.size, ModTime: time.Unix(s.modTime, 0), Format: tar.FormatPAX}
}

func (p *filesPlan) copy(tw *tar.Writer, s source, names []string, body io.Reader) error {
	if err := tw.WriteHeader(s.header(names[0])); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(tw, body, p.buf); err != nil {
		return err
	}
	for _, name := range names[1:] {
		h := s.header(name)
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, names[0], 0
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	return nil
}
