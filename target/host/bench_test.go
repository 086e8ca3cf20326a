//go:build linux

package host

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkObserve looks at a running service whose image has 10,000 files: what
// verification does every second.
func BenchmarkObserve(b *testing.B) {
	s := newScene(b)
	s.deploy(b, serviceOf("web", s.store.push(b, "1", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, manyFiles(b)...)))
	for b.Loop() {
		s.observe(b)
	}
}

// BenchmarkObserveSmall looks at a running service whose image has a handful of
// files, with a config: what a scan of many targets makes of each.
func BenchmarkObserveSmall(b *testing.B) {
	s := newScene(b)
	s.deploy(b, serviceOf("web", s.image(b, "1"), configField("a")))
	for b.Loop() {
		s.observe(b)
	}
}

// BenchmarkObserveDrifted looks at the 10,000 files of BenchmarkObserve once one
// of them was changed: the others are not read.
func BenchmarkObserveDrifted(b *testing.B) {
	s := newScene(b)
	web := serviceOf("web", s.store.push(b, "1", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, manyFiles(b)...))
	s.deploy(b, web)
	s.overwrite(b, filepath.Join(s.lay.rootfs("web", s.releaseNames("web")[0]), "version"), "evil")
	for b.Loop() {
		s.observe(b)
	}
}

// manyFiles are the sample program's and 10,000 more.
func manyFiles(b *testing.B) []fakeFile {
	files := appFiles(b, "1")
	for n := range 10_000 {
		if n%100 == 0 {
			files = append(files, fakeFile{name: fmt.Sprintf("lib%d/", n/100), dir: true})
		}
		files = append(files, fakeFile{name: fmt.Sprintf("lib%d/file%d", n/100, n), content: fmt.Sprint(n)})
	}
	return files
}
