//go:build linux

package host

import (
	"fmt"
	"testing"
)

// BenchmarkObserve looks at a running service whose image has 10,000 files: what
// verification does every second.
func BenchmarkObserve(b *testing.B) {
	s := newScene(b)
	files := appFiles(b, "1")
	for n := range 10_000 {
		if n%100 == 0 {
			files = append(files, fakeFile{name: fmt.Sprintf("lib%d/", n/100), dir: true})
		}
		files = append(files, fakeFile{name: fmt.Sprintf("lib%d/file%d", n/100, n), content: fmt.Sprint(n)})
	}
	s.deploy(b, serviceOf("web", s.store.push(b, "1", imageConfig{Entrypoint: []string{"/bin/app", "wait"}}, files...)))
	for b.Loop() {
		s.observe(b)
	}
}
