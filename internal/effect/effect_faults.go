//go:build faults

package effect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// errInjected is what an effect fails with here: an error that no code expects
// by name. As the kernel's own it has no class of stella's.
var errInjected = fmt.Errorf("a fault was injected: %w", syscall.EIO)

// order is STELLA_FAULT: what happens to which effect, counted from 1.
//
//	before:N  the process is killed before effect N
//	after:N   the process is killed after effect N
//	fail:N    effect N does not happen, and an error is returned
//	lost:N    effect N happens, and an error is returned
type order struct {
	mode string
	n    int
}

// seam is the state of the process.
type seam struct {
	order order
	log   *os.File // nil where nobody wants one

	mu    sync.Mutex // guards count, and the order of lines in log
	count int
}

var theSeam = sync.OnceValue(func() *seam {
	s := &seam{}
	if text := os.Getenv("STELLA_FAULT"); text != "" {
		mode, n, _ := strings.Cut(text, ":")
		number, err := strconv.Atoi(n)
		if err != nil || number < 1 || !strings.Contains(" before after fail lost ", " "+mode+" ") {
			panic("STELLA_FAULT=" + text + ": want before:N, after:N, fail:N or lost:N")
		}
		s.order = order{mode, number}
	}
	if name := os.Getenv("STELLA_FAULT_LOG"); name != "" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			panic(err)
		}
		s.log = f
	}
	return s
})

// Do carries out one effect, or what STELLA_FAULT says instead. It writes the
// effect's number and name to the file that STELLA_FAULT_LOG names, before the
// effect: the last line of a process that was killed names where.
func Do(verb, object string, act func() error) error {
	s := theSeam()
	if !s.next(verb, object) {
		return act()
	}
	switch s.order.mode {
	case "before":
		die()
	case "fail":
		return errInjected
	}
	err := act()
	if s.order.mode == "after" {
		die()
	}
	return errors.Join(err, errInjected)
}

// next counts an effect and reports whether it is the one.
func (s *seam) next(verb, object string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if s.log != nil {
		if _, err := fmt.Fprintf(s.log, "%d %s %s\n", s.count, verb, name(object)); err != nil {
			panic(err)
		}
	}
	return s.count == s.order.n
}

// name shortens a path to its last element: two runs call the same thing the
// same.
func name(object string) string {
	if filepath.IsAbs(object) {
		return filepath.Base(object)
	}
	return object
}

// die ends the process as a power cut would: nothing is run, nothing is written.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
