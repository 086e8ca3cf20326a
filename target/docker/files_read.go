package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// readFiles reads back the files that were asked for, as they are in the
// container now. What is no file any more is left out, with a note: a link is
// not followed. Never more than maxFileBytes of each is read; the content of a
// larger one reads as that it is larger.
func (d *Docker) readFiles(ctx context.Context, containerID string, wanted []file) (found []file, notes []string, err error) {
	for _, w := range wanted {
		got, note, err := d.readFile(ctx, containerID, w)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", safe.Clip(w.path, 200), err)
		}
		if note != "" {
			notes = append(notes, safe.Clip(w.path, 200)+" "+note)
		}
		if got != nil {
			found = append(found, *got)
		}
	}
	return found, notes, nil
}

// readFile returns nil for what is not there or is no file.
func (d *Docker) readFile(ctx context.Context, id string, w file) (got *file, note string, err error) {
	ctx, cancel := d.within(ctx, callTime)
	defer cancel()
	res, err := d.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: w.path})
	if err = fault(err); errors.Is(err, stella.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Content.Close() }()
	r := tar.NewReader(io.LimitReader(res.Content, maxFileBytes+1<<20))
	h, err := r.Next()
	if err != nil {
		return nil, "", fmt.Errorf("%w: the engine's archive can not be read", stella.ErrUnreachable)
	}
	switch {
	case h.Typeflag == tar.TypeSymlink:
		return nil, "is a symbolic link in the container and no file", nil
	case h.Typeflag != tar.TypeReg:
		return nil, "is no file in the container", nil
	}
	w.mode, w.uid, w.gid = uint32(h.Mode&0o7777), h.Uid, h.Gid
	if h.Size > maxFileBytes {
		w.content = fmt.Appendf(nil, "‹%d bytes, more than is read›", h.Size)
		return &w, "is larger than any file that is put there", nil
	}
	if w.content, err = io.ReadAll(r); err != nil {
		return nil, "", fmt.Errorf("%w: the engine's archive ends early", stella.ErrUnreachable)
	}
	return &w, "", nil
}
