package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

// capabilities is the effective set, capget(2).
func capabilities() string {
	header := struct {
		version uint32
		pid     int32
	}{version: 0x20080522}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return errno.Error()
	}
	return fmt.Sprintf("%08x%08x", data[1].effective, data[0].effective)
}
