package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// aProgram compiles something static and small: what is in the image's own binary
// is another test's matter.
func aProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "stella")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// makeImage makes an image and returns its file.
func makeImage(t *testing.T, binary string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sub", "image.tar")
	none := func(string) string { return "" }
	if err := run([]string{"-binary", binary, "-o", file, "-version", "1.2.3"}, none, io.Discard, t.Output()); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheSamePackagesGiveTheSameImage(t *testing.T) {
	binary := aProgram(t)
	a, err := os.ReadFile(makeImage(t, binary))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(makeImage(t, binary))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two images of the same differ")
	}
}

// TestNothingIsMissing looks for every library of every program in the image, at
// the names that the loader looks at.
func TestNothingIsMissing(t *testing.T) {
	image, err := tarball.ImageFromPath(makeImage(t, aProgram(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	files, links := map[string][]byte{}, map[string]string{}
	flat := mutate.Extract(image)
	defer func() { _ = flat.Close() }()
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			links[h.Name] = h.Linkname
		case tar.TypeReg:
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	has := func(name string) bool {
		top, rest, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
		if to, ok := links[top]; ok {
			top = to
		}
		_, ok := files[path.Join(top, rest)]
		return ok
	}
	for _, want := range []string{"/bin/sh", "/usr/bin/git", "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/bin/stella", "/etc/passwd", "/etc/ssl/certs/ca-certificates.crt"} {
		if !has(want) {
			t.Errorf("%s is not there", want)
		}
	}
	programs := 0
	for name, content := range files {
		f, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			continue // no program
		}
		programs++
		libs, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		for _, lib := range libs {
			where, err := findLibrary(lib)
			if err != nil || !has(where) {
				t.Errorf("%s needs %s, which is not there: %v", name, lib, err)
			}
		}
	}
	if programs < 10 {
		t.Errorf("only %d programs and libraries", programs)
	}
	for name, to := range links {
		if strings.HasPrefix(name, "usr/lib/git-core/") && !has(to) && !has(path.Join(path.Dir(name), to)) {
			t.Errorf("%s leads to %s, which is not there", name, to)
		}
	}
}

func TestABinaryThatNeedsLibrariesIsRefused(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := static(git); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("git is taken for a static binary: %v", err)
	}
}
