package host

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// checkInterpreter proves that the kernel will find what it needs to execute
// the program: execve(2) says "no such file or directory" of a file that is
// there when its loader or its interpreter is not. In place it is this machine
// that has them.
func (p program) checkInterpreter() error {
	if !p.chroot {
		return nil
	}
	root, err := os.OpenRoot(p.rootfs)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(inside(p.path))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	name := interpreter(f)
	if name == "" {
		return nil
	}
	if fi, err := root.Stat(inside(name)); err == nil && fi.Mode().IsRegular() {
		return nil
	}
	err = fmt.Errorf("%w: command %q needs %s, which is not in the image", stella.ErrInvalid, safe.Clip(p.argv[0], 200), safe.Clip(name, 200))
	return stella.WithHint(err, "link the program statically (CGO_ENABLED=0), or build the image with what it needs")
}

// maxInterpreterBytes is what Linux reads of a script's first line,
// BINPRM_BUF_SIZE, and more than any loader's name takes.
const maxInterpreterBytes = 256

// interpreter returns the loader of an ELF program or the interpreter of a
// script; empty for none, and for what only the kernel can judge.
func interpreter(f io.ReaderAt) string {
	head := make([]byte, maxInterpreterBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	if script, ok := bytes.CutPrefix(head[:n], []byte("#!")); ok {
		line := string(script)
		if end := strings.IndexAny(line, "\n\x00"); end >= 0 {
			line = line[:end]
		}
		if words := strings.Fields(line); len(words) > 0 {
			return words[0]
		}
		return ""
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return ""
	}
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, min(segment.Filesz, maxInterpreterBytes))
		if _, err := segment.ReadAt(name, 0); err != nil && !errors.Is(err, io.EOF) {
			return ""
		}
		text, _, _ := strings.Cut(string(name), "\x00")
		return text
	}
	return ""
}
