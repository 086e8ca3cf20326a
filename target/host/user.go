package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// user is who a process runs as.
type user struct {
	uid, gid uint32
	home     string // absolute
}

// nobody is who runs what names no user: the overflow ids of Linux, which own
// nothing on the machine.
const nobody = 65534

// maxID is the highest user or group id: the one above means "unchanged" to
// chown(2) and setresuid(2).
const maxID = 1<<32 - 2

// parseID reads a numeric id; -1 for the empty string.
func parseID(s string) (int, error) {
	if s == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxID || s[0] == '+' {
		return 0, fmt.Errorf("%w: id %q: want 0 to %d", stella.ErrInvalid, safe.Clip(s, 30), maxID)
	}
	return int(n), nil
}

// isAccount reports whether s can be a name in passwd(5): what useradd(8) takes,
// upper case and dots included.
func isAccount(s string) bool {
	return len(s) > 0 && len(s) <= 32 && s[0] != '-' && s[0] != '.' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == ""
}

// resolveUser turns "user", "uid", "user:group" and "uid:gid" into ids, names
// by the passwd and group files of the image. An empty spec is nobody, or root
// where that is allowed. Errors are of class stella.ErrInvalid, and
// stella.ErrRefused for a root that is not allowed.
func resolveUser(spec string, root *os.Root, allowRoot bool) (user, error) {
	u, err := lookUser(spec, root, allowRoot)
	if err != nil {
		return user{}, err
	}
	if u.uid == 0 && !allowRoot {
		err := fmt.Errorf("%w: user %q is root", stella.ErrRefused, safe.Clip(spec, 40))
		return user{}, stella.WithHint(err, "name another user, or set allowRoot: true in environment.yaml")
	}
	return u, nil
}

func lookUser(spec string, root *os.Root, allowRoot bool) (user, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	u := user{uid: nobody, gid: nobody, home: "/"}
	switch {
	case spec == "" && allowRoot:
		u.uid, u.gid = 0, 0
	case spec == "":
	case name == "":
		return u, fmt.Errorf("%w: user %q: want a name or number", stella.ErrInvalid, safe.Clip(spec, 40))
	default:
		entry, err := findAccount(root, "etc/passwd", name, 7)
		if err != nil {
			return u, fmt.Errorf("user %q: %w", safe.Clip(spec, 40), err)
		}
		u.uid = entry.id
		u.gid = entry.id // of a number that passwd does not have
		if entry.fields != nil {
			gid, err := parseID(entry.fields[3])
			if err != nil || gid < 0 {
				return u, fmt.Errorf("%w: user %q: etc/passwd has no group for it", stella.ErrInvalid, safe.Clip(spec, 40))
			}
			u.gid, u.home = uint32(gid), cleanHome(entry.fields[5])
		}
	}
	if hasGroup {
		entry, err := findAccount(root, "etc/group", group, 4)
		if err != nil {
			return u, fmt.Errorf("group of %q: %w", safe.Clip(spec, 40), err)
		}
		u.gid = entry.id
	}
	return u, nil
}

// account is a line of passwd(5) or group(5); without fields it is a number
// that has no line.
type account struct {
	id     uint32
	fields []string
}

// findAccount finds a name or number in a passwd or group file of an image,
// whose lines have columns fields.
func findAccount(root *os.Root, file, key string, columns int) (account, error) {
	number, err := parseID(key)
	numeric := err == nil && number >= 0
	if !numeric && !isAccount(key) {
		return account{}, fmt.Errorf("%w: want a name, or a number from 0 to %d", stella.ErrInvalid, maxID)
	}
	lines, err := readLines(root, file)
	if err != nil {
		return account{}, err
	}
	for _, line := range lines {
		f := strings.Split(line, ":")
		if len(f) != columns {
			continue
		}
		id, err := parseID(f[2])
		if err != nil || id < 0 {
			continue
		}
		if numeric && id == number || !numeric && f[0] == key {
			return account{uint32(id), f}, nil
		}
	}
	if numeric {
		return account{id: uint32(number)}, nil
	}
	return account{}, fmt.Errorf("%w: %s of the image does not have it", stella.ErrInvalid, file)
}

// readLines reads a small text file of an image; none where it is missing.
func readLines(root *os.Root, file string) ([]string, error) {
	const most = 1 << 20
	fi, err := root.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > most {
		return nil, fmt.Errorf("%w: %s of the image is no small file", stella.ErrInvalid, file)
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", file, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", file, err)
	}
	var lines []string
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	return lines, nil
}

func cleanHome(home string) string {
	if checkInside(home) != nil {
		return "/"
	}
	return home
}
