package configrepo

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	stella "github.com/stella-ops/stella"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// readAny reads a file by where it is.
func readAny(ctx context.Context, t Tree, name string) error {
	dir, base := path.Split(name)
	segments := strings.Split(strings.Trim(dir, "/"), "/")
	p := &Project{}
	var err error
	switch {
	case name == ProjectPath:
		_, err = ReadProject(ctx, t)
	case base == "environment.yaml":
		_, err = ReadEnvironment(ctx, t, p, stella.EnvName(segments[1]))
	case base == "release.yaml":
		_, err = ReadRelease(ctx, t, p, stella.EnvName(segments[1]))
	case segments[0] == "baselines":
		_, err = ReadBaseline(ctx, t, p, stella.EnvName(strings.TrimSuffix(base, ".yaml")))
	}
	return err
}

// TestProblems holds the errors of whole files against what they were. After
// -update, read what changed.
func TestProblems(t *testing.T) {
	cases, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			last := len(archive.Files) - 1
			files := map[string]string{}
			for _, f := range archive.Files[:last] {
				files[f.Name] = string(f.Data)
			}
			tree := newMapTree(files)
			var got bytes.Buffer
			for _, f := range archive.Files[:last] {
				err := readAny(t.Context(), tree, f.Name)
				if err == nil {
					continue
				}
				if !errors.Is(err, stella.ErrInvalid) {
					t.Errorf("%s: %v is not of class ErrInvalid", f.Name, err)
				}
				got.WriteString(err.Error() + "\n")
			}
			if *update {
				archive.Files[last].Data = got.Bytes()
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[last].Data), got.String()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
