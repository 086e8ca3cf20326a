package docker

import (
	"context"
	"errors"

	"github.com/moby/moby/client"
)

// filesPlan is how the files of a service get into its container: copied into
// it where its root file system can be written to, and otherwise into volumes
// of their own that are mounted read-only at the directories that they are in.
type filesPlan struct {
	volumes []string // directories that get a volume of their own, sorted
}

// planFiles decides how the files of a blueprint get to where they belong, and
// refuses what can not: it is pure.
func planFiles(b blueprint) (filesPlan, error) { return filesPlan{}, nil }

// createWithFiles makes the container of a blueprint, named and labelled, with
// its files in it; it returns the container's id. options are what the
// container is created with.
func (d *Docker) createWithFiles(ctx context.Context, options client.ContainerCreateOptions, files []file) (id string, err error) {
	return "", errors.ErrUnsupported
}

// readFiles reads back the files that were asked for, as they are in the
// container now. What is no file any more is left out, with a note. Never more
// than a little over the wanted size of each is read.
func (d *Docker) readFiles(ctx context.Context, containerID string, wanted []file) (found []file, notes []string, err error) {
	return nil, nil, errors.ErrUnsupported
}
