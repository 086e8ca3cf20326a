// Package registry is a small OCI registry on disk, for quickstart and tests.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// New returns a registry that keeps everything below dir, which is created. A
// second one over the same directory goes on where the first one was.
func New(dir string, logger *slog.Logger) (http.Handler, error) {
	return nil, errors.New("not built yet")
}

// File is a file of a layer.
type File struct {
	Name    string // "usr/bin/app"; a name ending in / is a directory
	Mode    int64  // permission bits; 0 means 0755
	Content []byte
	Link    string // not empty: a symbolic link to it
}

// Build describes an image to build.
type Build struct {
	Layers [][]File
	Config artifact.ImageConfig
	// Platform is "linux/amd64"; empty means that of this machine.
	Platform string
}

// Push builds the image and pushes it over plain HTTP to host ("127.0.0.1:5000").
// The artifact it returns has tag and digest.
func Push(ctx context.Context, host, repository, tag string, b Build) (stella.Artifact, error) {
	return stella.Artifact{}, errors.New("not built yet")
}
