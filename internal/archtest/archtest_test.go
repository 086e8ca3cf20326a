// Package archtest keeps the arrows between packages pointing down, and the
// shape of files as agreed. Start with the table in layers_test.go. It reads
// source text only and knows no package that it judges.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/stella-ops/stella"

// source is a Go file of the module that is not a test.
type source struct {
	name    string // slash-separated, below the module's root
	pkg     string // its directory; "." for the root
	file    *ast.File
	imports []string
	lines   int
}

// sources parses every file itself rather than asking go list: the go command
// runs a cached test again when a file that the test opened has changed, and
// knows nothing of what a subprocess read.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != root && notOurs(file, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		s, err := parse(file)
		s.name = filepath.ToSlash(rel)
		s.pkg = path.Dir(s.name)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d files were found: the test looks in the wrong place", len(all))
	}
	return all
}

// notOurs reports whether a directory holds no package of the module: the go
// command leaves out the same ones, and a directory with a go.mod of its own.
func notOurs(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func parse(file string) (source, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return source{}, err
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	s := source{file: f, lines: strings.Count(string(text), "\n")}
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imp)
	}
	return s, nil
}

// within reports whether the package is one of the patterns. A pattern that
// ends in "/..." takes the whole subtree.
func within(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		pre, tree := strings.CutSuffix(p, "/...")
		return pkg == p || tree && (pkg == pre || strings.HasPrefix(pkg, pre+"/"))
	})
}

// TestFilesAreOfAReadableLength has no exception for code: a table that is
// longer belongs in a file of data.
func TestFilesAreOfAReadableLength(t *testing.T) {
	const most = 450
	for _, s := range sources(t) {
		if s.lines > most {
			t.Errorf("%s has %d lines, want at most %d: split it by what it is about", s.name, s.lines, most)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if _, ok := comments[s.pkg]; !ok {
			comments[s.pkg] = nil
		}
		if s.file.Doc != nil {
			comments[s.pkg] = append(comments[s.pkg], s.name)
			checkComment(t, s)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments, want one: %v", pkg, len(files), files)
		}
	}
}

// checkComment demands more than a name: what the package is for, where to
// start, what it keeps true and what it must not know.
func checkComment(t *testing.T, s source) {
	t.Helper()
	text := s.file.Doc.Text()
	start := "Package " + s.file.Name.Name + " "
	if s.file.Name.Name == "main" {
		start = "Command " + path.Base(s.pkg) + " "
	}
	if !strings.HasPrefix(text, start) {
		t.Errorf("%s: the package comment starts with %q", s.name, start)
	}
	const leastBytes = 160
	if len(text) < leastBytes && s.file.Name.Name != "main" {
		t.Errorf("%s: the package comment says too little: what is it for, which types come first, what does it keep true, what must it not know", s.name)
	}
}
