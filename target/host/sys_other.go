//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// On other systems stella plans, reads and talks to other targets; it can not
// be a bare host itself.

var errNoProcess = errors.New("no such process")

const (
	sigKill      = 9
	openNoFollow = 0
	openNoWait   = 0
)

func supported() error {
	return fmt.Errorf("%w: a bare host target needs Linux", stella.ErrUnsupported)
}

func ownerOf(fs.FileInfo) (uid int, ok bool)          { return 0, false }
func changedAt(fi fs.FileInfo) time.Time              { return fi.ModTime() }
func lockID(fs.FileInfo) (device, inode string)       { return "", "" }
func ownership(fs.FileInfo) string                    { return "" }
func capabilitiesOf(string) string                    { return "" }
func openPidfd(int) (int, error)                      { return 0, supported() }
func signalPidfd(int, int) error                      { return supported() }
func statLine(fs.FileInfo) string                     { return "" }
func syncAll(string) error                            { return supported() }
func canUnshare() error                               { return supported() }
func parseSignal(string) (syscall.Signal, error)      { return 0, supported() }
func detached() *syscall.SysProcAttr                  { return nil }
func giveUpPrivileges() error                         { return supported() }
func adoptOrphans() error                             { return supported() }
func closeInherited(int) error                        { return supported() }
func enterNamespace(int) error                        { return supported() }
func mountRoot(furnishing) error                      { return supported() }
func (p program) fork([3]*os.File, bool) (int, error) { return 0, supported() }

func awaitPidfd(context.Context, durable.Process) (ended, ok bool) { return false, false }

func statTree(context.Context, string, map[string]bool, hash.Hash) error { return supported() }

func freeBytes(string) (int64, error) { return 0, supported() }
