package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
)

// File is a file, directory or symbolic link of a layer.
type File struct {
	Name    string // "usr/bin/app"; a name that ends in / is a directory
	Mode    int64  // permission bits; 0 means 0755
	Content []byte
	Link    string // not empty: a symbolic link to it
	// Owner and group; of a directory or file that something other than root is to
	// write to.
	UID, GID int
}

// Build describes an image. Equal ones have equal digests.
type Build struct {
	Layers [][]File // lowest first
	Config artifact.ImageConfig
	// Created is when the image says that it was made; zero for not saying it.
	Created time.Time
}

// WriteArchive writes the image, under a name with a tag, as `docker load` takes
// it, and returns the digest of its configuration, which engines know it by.
func (b Build) WriteArchive(w io.Writer, image string) (stella.Digest, error) {
	tag, err := name.NewTag(image)
	if err != nil {
		return "", fmt.Errorf("%w: %w", stella.ErrInvalid, err)
	}
	built, err := b.Image()
	if err != nil {
		return "", err
	}
	if err := tarball.Write(tag, built, w); err != nil {
		return "", fmt.Errorf("write image %s: %w", image, err)
	}
	id, err := built.ConfigName()
	return stella.Digest(id.String()), err
}

// Image builds the image. Without Config.Platform it is for this machine.
func (b Build) Image() (v1.Image, error) {
	image := empty.Image
	for i, files := range b.Layers {
		data, err := archive(files)
		if err != nil {
			return nil, fmt.Errorf("build layer %d: %w", i+1, err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			return nil, fmt.Errorf("build layer %d: %w", i+1, err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, fmt.Errorf("build layer %d: %w", i+1, err)
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build configuration: %w", err)
	}
	file = file.DeepCopy()
	if err := b.configure(file); err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, file)
}

func (b Build) configure(file *v1.ConfigFile) error {
	c := b.Config
	if c.Platform == "" {
		c.Platform = artifact.Host().String()
	}
	p, err := v1.ParsePlatform(c.Platform)
	if err != nil {
		return fmt.Errorf("build configuration: %w: %w", stella.ErrInvalid, err)
	}
	file.Created = v1.Time{Time: b.Created}
	file.OS, file.Architecture, file.Variant = p.OS, p.Architecture, p.Variant
	file.Config = v1.Config{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, WorkingDir: c.WorkingDir, StopSignal: c.StopSignal,
		Volumes: set(c.Volumes), ExposedPorts: set(c.ExposedPorts), Labels: c.Labels,
	}
	if h := c.Healthcheck; h != nil {
		file.Config.Healthcheck = &v1.HealthConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
	}
	return nil
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	all := map[string]struct{}{}
	for _, n := range names {
		all[n] = struct{}{}
	}
	return all
}

func archive(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Content)), Linkname: f.Link, Typeflag: tar.TypeReg, Uid: f.UID, Gid: f.GID}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		switch {
		case f.Link != "":
			h.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(f.Name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Push builds the image and pushes it over plain HTTP to a registry on
// loopback ("127.0.0.1:5000"). The artifact that it returns has tag and digest.
func Push(ctx context.Context, host, repository, tag string, b Build) (stella.Artifact, error) {
	a, err := stella.ParseArtifact(host + "/" + repository + ":" + tag)
	if err != nil {
		return stella.Artifact{}, err
	}
	image, err := b.Image()
	if err != nil {
		return stella.Artifact{}, fmt.Errorf("push %s: %w", a, err)
	}
	ref, err := name.NewTag(a.String(), name.Insecure)
	if err != nil {
		return stella.Artifact{}, fmt.Errorf("push %s: %w: %w", a, stella.ErrInvalid, err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return stella.Artifact{}, fmt.Errorf("push %s: %w", a, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return stella.Artifact{}, fmt.Errorf("push %s: %w", a, err)
	}
	a.Digest, err = stella.ParseDigest(digest.String())
	return a, err
}
