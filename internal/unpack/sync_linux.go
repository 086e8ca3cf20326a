package unpack

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFS writes out the file system that root is on. Done is true: a syncfs(2)
// that fails is an error, and Linux reports failed write-back with it since 5.8.
func syncFS(root *os.Root) (done bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, err
	}
	return true, errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
}
