package archtest

import (
	"path"
	"strings"
	"testing"
)

// layers lists the packages from the bottom up. A package imports lower layers
// only, and never one of its own. The first match wins.
func layers() [][]string {
	return [][]string{
		{".", "examples", "internal/effect", "internal/sampleapp"},
		{"internal/safe", "internal/durable"},
		{"internal/git/odb", "internal/git/wire", "internal/imagetree", "internal/strictyaml", "internal/term", "health", "drift"},
		{"internal/git", "internal/unpack", "internal/engine", "drift/drifttest"},
		{"internal/git/gittest", "internal/git/merge", "artifact", "configrepo", "ledger"},
		{"internal/registry", "target/docker", "target/host", "ledger/ledgertest", "baseline"},
		{"reconciler"},
		{"reconciler/...", "target/targettest", "internal/dockertest"},
		{"internal/serve", "internal/doctor", "internal/benchmark"},
		{"internal/quickstart"},
		{"internal/cli"},
		{"cmd/...", "deploy/..."},
	}
}

func layerOf(pkg string) (layer int, ok bool) {
	for i, patterns := range layers() {
		if within(pkg, patterns) {
			return i, true
		}
	}
	return 0, false
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		from, ok := layerOf(s.pkg)
		if !ok {
			t.Errorf("%s: package %s is in no layer; add it to layers", s.name, s.pkg)
			continue
		}
		for _, imp := range s.imports {
			sub, ok := ours(imp)
			if to, known := layerOf(sub); ok && known && to >= from {
				t.Errorf("%s: %s (layer %d) must not import %s (layer %d)", s.name, s.pkg, from, sub, to)
			}
		}
	}
}

// ours returns the directory of a package of this module.
func ours(imp string) (pkg string, ok bool) {
	sub, ok := strings.CutPrefix(imp+"/", module+"/")
	return path.Clean(sub), ok
}

// TestWhatPackagesMustNotKnow is about arrows that point down and still may
// not be drawn.
func TestWhatPackagesMustNotKnow(t *testing.T) {
	rules := []struct {
		packages, mustNotImport []string
		because                 string
	}{
		{[]string{"reconciler"}, []string{"target/..."}, "the engine declares the interfaces that it needs; which drivers exist is the caller's business"},
		{[]string{"target/...", "drift", "health", "configrepo", "artifact"}, []string{"ledger", "internal/git"}, "only the ledger and the engine know that there is a Git"},
		{[]string{"target/...", "artifact", "ledger"}, []string{"configrepo"}, "what is wanted reaches them as resources, not as files"},
		{[]string{"artifact", "ledger"}, []string{"drift", "health"}, "they keep and fetch; they do not judge"},
		{[]string{"baseline"}, []string{"artifact", "internal/git", "target/..."}, "it judges what others found out"},
		{[]string{"artifact"}, []string{"internal/unpack"}, "it delivers an image's files; where they go is the target's business"},
		{[]string{".", "artifact", "baseline", "configrepo", "drift", "health", "ledger", "reconciler", "target/..."}, []string{"internal/term"}, "only the outermost layer talks"},
	}
	for _, s := range sources(t) {
		for _, r := range rules {
			if !within(s.pkg, r.packages) {
				continue
			}
			for _, imp := range s.imports {
				if sub, ok := ours(imp); ok && within(sub, r.mustNotImport) {
					t.Errorf("%s: %s must not import %s: %s", s.name, s.pkg, sub, r.because)
				}
			}
		}
	}
}

// TestWhoImportsWhichModule keeps each library behind one door, where its
// traps are known.
func TestWhoImportsWhichModule(t *testing.T) {
	doors := []struct {
		module   string
		packages []string
	}{
		{"github.com/go-git/", []string{"internal/git", "internal/git/..."}},
		{"github.com/google/go-containerregistry", []string{"artifact", "internal/registry"}},
		{"github.com/compose-spec/", []string{"configrepo"}},
		{"github.com/spf13/", []string{"internal/cli", "cmd/..."}},
		{"github.com/stretchr/testify", nil},
		// For the jitter of a wait; a nonce or a secret comes from crypto/rand.
		{"math/rand", []string{"reconciler", "ledger", "internal/serve"}},
	}
	for _, s := range sources(t) {
		for _, imp := range s.imports {
			for _, d := range doors {
				if strings.HasPrefix(imp, d.module) && !within(s.pkg, d.packages) {
					t.Errorf("%s: only %v may import %s", s.name, d.packages, imp)
				}
			}
		}
	}
}

// TestRootIsStandardLibraryOnly: whoever talks about deployments pays for the
// nouns and nothing else.
func TestRootIsStandardLibraryOnly(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.imports {
			if first, _, _ := strings.Cut(imp, "/"); s.pkg == "." && strings.Contains(first, ".") {
				t.Errorf("%s: the root package must not import %s", s.name, imp)
			}
		}
	}
}
