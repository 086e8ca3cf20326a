package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
)

// labelFiles is on the volumes that hold files of a container, and on the
// container through which they are filled.
const labelFiles = "stella.files"

// createWithFiles makes the container of a blueprint, named and labelled, with
// its files in it; it returns the container's id and what the engine warns of.
// options are what the container is created with.
func (d hand) createWithFiles(ctx context.Context, options client.ContainerCreateOptions, files []file) (id string, warnings []string, err error) {
	plan, err := planFiles(blueprint{host: *options.HostConfig, files: files})
	if err != nil {
		return "", nil, err
	}
	var helper string
	if len(plan.volumes) > 0 {
		if err := d.discardHelpers(ctx, d.mine().Add("label", labelFiles+"="+options.Name)); err != nil {
			return "", nil, err
		}
		var mounts []mount.Mount
		helper, mounts, err = d.fillVolumes(ctx, options, plan, files)
		if err != nil {
			return "", nil, errors.Join(err, d.discard(ctx, helper, options.Name+".files"))
		}
		host := *options.HostConfig
		host.Mounts = append(slices.Clone(host.Mounts), mounts...)
		options.HostConfig = &host
	}
	if id, warnings, err = d.create(ctx, options); err == nil {
		err = d.copyFiles(ctx, id, options.Name, copied(plan, files))
	}
	// The volumes go with the last container that has them: the helper goes once
	// the container that needs them is there.
	if err != nil {
		return "", nil, errors.Join(err, d.discard(ctx, id, options.Name), d.discard(ctx, helper, options.Name+".files"))
	}
	return id, warnings, d.discard(ctx, helper, options.Name+".files")
}

// copied are the files that go into the container itself.
func copied(p filesPlan, files []file) []file {
	return slices.DeleteFunc(slices.Clone(files), func(f file) bool { return slices.Contains(p.volumes, path.Dir(f.path)) })
}

func (d hand) create(ctx context.Context, options client.ContainerCreateOptions) (id string, warnings []string, err error) {
	err = d.effect(ctx, "create", options.Name, callTime, func(ctx context.Context) error {
		made, err := d.api.ContainerCreate(ctx, options)
		id, warnings = made.ID, made.Warnings
		return err
	})
	if err != nil {
		return id, nil, fmt.Errorf("create container %s: %w", options.Name, err)
	}
	return id, warnings, nil
}

// discard removes a container that was made for nothing.
func (d hand) discard(ctx context.Context, id, name string) error {
	if id == "" {
		return nil
	}
	return d.removeContainer(context.WithoutCancel(ctx), id, name)
}

// fillVolumes makes the volumes of a plan through a container that is never
// started: of the same image, so that what the image has in these directories is
// in the volumes too, and with a root file system that can be copied into.
func (d hand) fillVolumes(ctx context.Context, options client.ContainerCreateOptions, p filesPlan, files []file) (helper string, mounts []mount.Mount, err error) {
	labels := d.identity()
	labels[labelFiles], labels[labelResource] = options.Name, "" // the image may have one
	name := strings.TrimSuffix(options.Name, suffixNext) + "-files-"
	writable := &container.HostConfig{NetworkMode: "none"}
	for _, dir := range p.volumes {
		var salt [8]byte
		_, _ = rand.Read(salt[:]) // never fails
		m := mount.Mount{
			Type: mount.TypeVolume, Source: name + hex.EncodeToString(salt[:]), Target: dir,
			VolumeOptions: &mount.VolumeOptions{Labels: maps.Clone(labels)},
		}
		writable.Mounts = append(writable.Mounts, m)
		m.ReadOnly = true
		mounts = append(mounts, m)
	}
	helper, _, err = d.create(ctx, client.ContainerCreateOptions{
		Name: options.Name + ".files", HostConfig: writable, Platform: options.Platform,
		Config: &container.Config{Image: options.Config.Image, Cmd: []string{"never-started"}, Entrypoint: []string{}, NetworkDisabled: true, Labels: labels},
	})
	if err != nil {
		return helper, nil, err
	}
	inVolumes := slices.DeleteFunc(slices.Clone(files), func(f file) bool { return !slices.Contains(p.volumes, path.Dir(f.path)) })
	return helper, mounts, d.copyFiles(ctx, helper, options.Name+".files", inVolumes)
}

// isHelper reports whether a container was made to fill volumes, for a moment. A
// service is none whatever labels its image has.
func isHelper(c container.Summary) bool {
	return c.Labels[labelFiles] != "" && c.Labels[labelResource] == ""
}

// discardHelpers removes the containers that a crash left while they filled
// volumes.
func (d hand) discardHelpers(ctx context.Context, those client.Filters) error {
	list, err := d.list(ctx, those)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range list {
		if c.State != container.StateCreated || !isHelper(c) {
			continue
		}
		if err := d.removeContainer(ctx, c.ID, nameOf(c)); err != nil {
			return err
		}
	}
	return nil
}

// sweepFiles removes what held files of containers that are no more. Only the
// end of an order calls it, and a removal: what is being filled meanwhile belongs
// to somebody with a lower fence, who is refused.
func (d hand) sweepFiles(ctx context.Context) error {
	if err := d.discardHelpers(ctx, d.mine().Add("label", labelFiles)); err != nil {
		return err
	}
	volumes, err := bounded(ctx, d, func(ctx context.Context) (client.VolumeListResult, error) {
		return d.api.VolumeList(ctx, client.VolumeListOptions{Filters: d.mine().Add("label", labelFiles).Add("dangling", "true")})
	})
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Items {
		if err := d.removeFiles(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// removeFiles removes a volume of files. Its label was looked at before: no
// volume with data of somebody's ever comes here.
func (d hand) removeFiles(ctx context.Context, v volume.Volume) error {
	if v.Labels[labelFiles] == "" || v.Labels[labelResource] != "" {
		return nil
	}
	err := d.effect(ctx, "files-remove", v.Name, callTime, func(ctx context.Context) error {
		_, err := d.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		return err
	})
	if err != nil && !errors.Is(err, stella.ErrNotFound) && !errors.Is(err, stella.ErrConflict) {
		return fmt.Errorf("remove volume %s: %w", v.Name, err)
	}
	return nil
}

// copyFiles puts files into a container that was not started yet. Directories
// that are missing are made.
func (d hand) copyFiles(ctx context.Context, id, name string, files []file) error {
	if len(files) == 0 {
		return nil
	}
	dirs, err := d.missingDirs(ctx, id, files)
	if err != nil {
		return fmt.Errorf("copy files into %s: %w", name, err)
	}
	archive, err := archiveOf(dirs, files)
	if err != nil {
		return fmt.Errorf("copy files into %s: %w", name, err)
	}
	err = d.effect(ctx, "files", name, callTime, func(ctx context.Context) error {
		_, err := d.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: bytes.NewReader(archive)})
		return err
	})
	if err != nil {
		return fmt.Errorf("copy files into %s: %w", name, err)
	}
	return nil
}

// missingDirs are the directories of files that a container does not have,
// outermost first. What stands in the place of a file or a directory of one and
// is none is refused by name.
func (d *Docker) missingDirs(ctx context.Context, id string, files []file) ([]string, error) {
	there := map[string]bool{"/": true}
	var missing []string
	for _, f := range files {
		for dir := path.Dir(f.path); !there[dir] && !slices.Contains(missing, dir); dir = path.Dir(dir) {
			_, err := bounded(ctx, d, func(ctx context.Context) (client.ContainerStatPathResult, error) {
				return d.api.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: dir})
			})
			if err == nil {
				there[dir] = true
				break
			}
			if !errors.Is(err, stella.ErrNotFound) {
				return nil, err
			}
			missing = append(missing, dir)
		}
	}
	slices.Sort(missing)
	return missing, nil
}

func archiveOf(dirs []string, files []file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range dirs {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.path, "/"), Mode: int64(f.mode), Size: int64(len(f.content)),
			Uid: f.uid, Gid: f.gid, ModTime: time.Unix(0, 0),
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
