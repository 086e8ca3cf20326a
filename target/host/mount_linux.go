package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// mountRoot gives this thread a mount namespace of its own in which the release
// is a read-only root with a few places to write to. The thread must be locked
// and never given back. Nothing of it is seen outside; it ends with the last
// process in it.
func mountRoot(f furnishing) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Nothing that is mounted here gets out; what is unmounted outside is
	// unmounted here as well and not held for as long as the service runs.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(f.rootfs, f.rootfs, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the release: %w", err)
	}
	root, err := os.OpenRoot(f.rootfs) // after the bind: what is opened through it lies on the new mount
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	m := mounter{root}
	if err := m.devices(); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	if err := m.tmpfs("tmp", "size=256m,mode=1777", 0); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	for _, v := range f.volumes {
		if err := m.volume(v); err != nil {
			return fmt.Errorf("mount volume at %s: %w", v.target, err)
		}
	}
	for place, file := range f.files {
		if err := m.bind(file, inside(place), unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
			return fmt.Errorf("mount %s: %w", place, err)
		}
	}
	const readOnly = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", f.rootfs, "", readOnly, ""); err != nil {
		return fmt.Errorf("make the release read-only: %w", err)
	}
	return nil
}

// mounter mounts onto places below a root, which are opened first: a link in
// the image or in a volume leads nowhere else.
type mounter struct{ root *os.Root }

// at calls fn with a path that names exactly the opened place.
func (m mounter) at(place string, fn func(path string) error) error {
	f, err := m.root.OpenFile(place, unix.O_PATH, 0) // whatever it has become: nothing is read
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return fn(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

func (m mounter) tmpfs(place, options string, flags uintptr) error {
	return m.at(place, func(path string) error {
		return unix.Mount("tmpfs", path, "tmpfs", flags|unix.MS_NOSUID|unix.MS_NODEV, options)
	})
}

// bind mounts a file or directory of this machine. The flags of a bind mount
// take effect only when it is mounted again.
func (m mounter) bind(source, place string, flags uintptr) error {
	err := m.at(place, func(path string) error { return unix.Mount(source, path, "", unix.MS_BIND, "") })
	if err != nil || flags == 0 {
		return err
	}
	return m.at(place, func(path string) error {
		return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|flags, "")
	})
}

// devices gives the root the three devices that need no trust.
func (m mounter) devices() error {
	if err := m.tmpfs("dev", "size=64k,mode=755", unix.MS_NOEXEC); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "urandom"} {
		place := "dev/" + name
		f, err := m.root.OpenFile(place, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := m.bind("/"+place, place, unix.MS_NOSUID|unix.MS_NOEXEC); err != nil {
			return err
		}
	}
	return m.at("dev", func(path string) error {
		return unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "size=64k,mode=755")
	})
}

func (m mounter) volume(v volumeMount) error {
	place := inside(v.target)
	// A place below /tmp or in another volume is not in the release.
	if _, err := m.root.Lstat(place); errors.Is(err, fs.ErrNotExist) {
		if err := m.root.MkdirAll(place, 0o755); err != nil {
			return err
		}
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if v.readOnly {
		flags |= unix.MS_RDONLY
	}
	return m.bind(v.source, place, flags)
}
